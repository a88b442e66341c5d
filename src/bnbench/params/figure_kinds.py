"""Kinds of figures: the description of each, and the keys that it needs and takes in the parameter file.

A kind has an entry here and a module of its name in `bnbench.figures.kinds`, which selects the data, draws them and
writes the caption. The schema's allowed values and the checks of a figure's keys follow from the entry.
"""

from dataclasses import dataclass

PANELS = ("col", "row")
ROWS_OF_A_PROBE = ("probe", "pick")


@dataclass(frozen=True, kw_only=True)
class KindKeys:
    """One kind of figure in the parameter file.

    Args:
        description: what the figure shows, for the schema.
        needs: the keys that must be given, beside `kind` and `title`.
        takes: the keys that may be given, beside those and `where`; any other key is refused.
        time: the column on the x axis unless `x` is given, of kinds whose x axis is the training's progress.
    """

    description: str
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    time: str | None = None

    @property
    def keys(self) -> frozenset[str]:
        """All keys that a figure of this kind may have."""
        return frozenset(("kind", "title", "where", *self.needs, *self.takes))


KINDS: dict[str, KindKeys] = {
    "curves": KindKeys(
        description="over training",
        needs=("y",),
        takes=("x", "hue", *PANELS, *ROWS_OF_A_PROBE, "log", "low"),
        time="epoch",
    ),
    "sweep": KindKeys(
        description="over a setting",
        needs=("y", "x"),
        takes=("hue", *PANELS, *ROWS_OF_A_PROBE, "log", "within"),
    ),
    "heatmap": KindKeys(
        description="over two settings",
        needs=("y", "x", "against"),
        takes=(*PANELS, *ROWS_OF_A_PROBE),
    ),
    "ridges": KindKeys(
        description="histograms over training",
        needs=("probe",),
        takes=("y", *PANELS, "pick"),
    ),
    "hyperplanes": KindKeys(
        description="first-layer units in a plane of the inputs",
        needs=("probe",),
        takes=(*PANELS, "pick"),
    ),
    "predictions": KindKeys(
        description="predicted class of each of the first test images",
        needs=("probe",),
        takes=("col", "pick"),
    ),
    "networks": KindKeys(description="layers, output shapes and parameters of each network"),
    "confusion": KindKeys(
        description="true against predicted class",
        needs=("probe",),
        takes=(*PANELS, "pick"),
    ),
}
