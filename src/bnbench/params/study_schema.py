"""Studies: base settings, grids of runs, figures and published values."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, create_model

from bnbench.params.fields import Name, Positive, Strict, Tier, distinct
from bnbench.params.figure_kinds import KINDS
from bnbench.params.run_schema import Run

CLASSES = "classes"  # of figures and published values, as a probe: the confusion matrix, which every run has

Work = Literal["A", "B", "C", "D", "E"]


def _optional(name: str, doc: str, wrap: bool = False, unique: bool = False) -> type[Strict]:
    """A model with Run's fields, none required; `wrap`: a list of values for each, as an axis of a grid."""
    fields: dict[str, Any] = {}
    for key, info in Run.model_fields.items():
        kind: Any = Annotated[info.annotation, *info.metadata, Field(discriminator=info.discriminator)]
        if wrap:
            kind = Annotated[list[kind], Field(min_length=1)]
        if unique:
            kind = Annotated[kind, AfterValidator(distinct)]
        fields[key] = (kind, Field(default=None, description=info.description))
    return create_model(name, __base__=Strict, __doc__=doc, **fields)


if TYPE_CHECKING:

    class Settings(Strict):
        """Some of a run's settings."""

    class Axes(Strict):
        """Lists of values, a list for each setting that varies."""

    class Columns(Strict):
        """Lists of values of one length, joined row by row."""

else:
    Settings = _optional("Settings", "Some of a run's settings.")
    Axes = _optional("Axes", "Lists of values, a list for each setting that varies.", wrap=True, unique=True)
    Columns = _optional("Columns", "Lists of values of one length, joined row by row.", wrap=True)


class Where(Settings):
    """Values by which runs are chosen: of settings, and of what follows from them."""

    network: Annotated[str | None, Field(description="dense, conv, or a net's blocks, as 4C3B")] = None


class Grid(Strict):
    """Which runs a study makes: (zip or around) x product, without exclude, with include."""

    product: Annotated[Axes | None, Field(description="every combination")] = None
    zip: Annotated[Columns | None, Field(description="first with first, second with second, ...")] = None
    around: Annotated[
        Axes | None,
        Field(description="the base itself, then each value alone: one setting at a time"),
    ] = None
    exclude: Annotated[list[Settings], Field(description="drop the runs that have all of an item's values")] = []
    include: Annotated[list[Axes], Field(description="further runs: a product each, around the base")] = []


class Pick(Strict):
    """Which rows of a probe are meant; what is not named may be any."""

    step: int | Literal["last"] | None = None
    part: str | None = None
    layer: int | None = None
    quantity: str | list[str] | None = None
    item: int | None = None
    at: float | None = None


class Measure(Strict):
    """Something measured of a study's runs: a column of the tables, or rows of a probe."""

    y: Annotated[
        str | list[str] | None,
        Field(description="a column of the tables, for curves also several; with a probe, what its values are called"),
    ] = None
    probe: Annotated[
        str | None,
        Field(description="a probe that the study's runs record; classes: the confusion matrix, which every run has"),
    ] = None
    pick: Annotated[Pick, Field(description="which rows of the probe")] = Field(default_factory=Pick)
    where: Annotated[Where, Field(description="only the runs with these values")] = Field(default_factory=Where)


if TYPE_CHECKING:
    KindName = str
else:
    KindName = Literal[tuple(KINDS)]


class Figure(Measure):
    """One figure of a study, drawn from the tables."""

    kind: Annotated[KindName, Field(description="; ".join(f"{name}: {k.description}" for name, k in KINDS.items()))]
    title: Annotated[str, Field(min_length=1)]
    x: Annotated[str | None, Field(description="sweep, heatmap: the setting on the x axis")] = None
    against: Annotated[str | None, Field(description="heatmap: the setting on the y axis")] = None
    hue: Annotated[str | None, Field(description="the setting shown by colour")] = None
    col: Annotated[str | None, Field(description="the setting shown by columns of panels")] = None
    row: Annotated[str | None, Field(description="the setting shown by rows of panels")] = None
    log: Annotated[bool | None, Field(description="a logarithmic y axis; null: where losses span decades")] = None
    low: Annotated[float | None, Field(description="curves: where the y axis begins; null: below all")] = None
    within: Annotated[
        Positive | None,
        Field(description="sweep: mark the range of x in which no run fails and the mean is so near its best"),
    ] = None


class Published(Measure):
    """A published value, put beside what the study's runs gave."""

    what: Annotated[str, Field(min_length=1, description="the quantity, in words")]
    value: Annotated[
        float | list[float],
        Field(description="as published; a list: one for each value of `by`, or the ends of a usable range"),
    ]
    x: Annotated[
        Literal["learning_rate", "batch_size"] | None, Field(description="of a usable range: what it is a range of")
    ] = None
    within: Annotated[Positive | None, Field(description="of a usable range: how near the mean is to its best")] = None
    by: Annotated[
        Literal["step", "part", "layer", "quantity", "item"] | None, Field(description="along which a list goes")
    ] = None


class Variant(Strict):
    """What a tier changes in a study. Mappings are merged; a list replaces the list of that name."""

    base: Settings = Field(default_factory=Settings)
    grid: Grid = Field(default_factory=Grid)


class Study(Strict):
    """A question, a base configuration, a grid, figures."""

    title: Annotated[str, Field(min_length=1)]
    question: Annotated[str, Field(min_length=1)]
    work: Annotated[Work, Field(description="the published work that it repeats")]
    base: Settings = Field(default_factory=Settings)
    grid: Grid
    tiers: Annotated[dict[Tier, Variant], Field(description="what each tier changes")] = {}
    figures: dict[Name, Figure] = {}
    published: Annotated[list[Published], Field(description="published values, in the report beside ours")] = []
