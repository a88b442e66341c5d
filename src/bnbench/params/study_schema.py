"""Schema of studies: base settings, grids of runs, figures, published values and claims."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from bnbench.params.claims.schema import Claim
from bnbench.params.fields import Name, Positive, Strict, Tier
from bnbench.params.figure_kinds import KINDS
from bnbench.params.run_schema import Axes, Columns, Pick, Settings, Where


class Grid(Strict):
    """Grid of a study's runs: (zip or around) x product, minus `exclude`, plus `include`."""

    product: Annotated[Axes | None, Field(description="every combination of the values")] = None
    zip: Annotated[
        Columns | None, Field(description="settings that vary together: first values, second values, ...")
    ] = None
    around: Annotated[
        Axes | None,
        Field(description="the base, and each listed value alone: one setting at a time"),
    ] = None
    exclude: Annotated[list[Settings], Field(description="drop the runs that have all values of an item")] = []
    include: Annotated[list[Axes], Field(description="further runs: one product of values per item")] = []


class Measure(Strict):
    """Measured quantity of a study's runs: a column of the tables, or rows of a probe."""

    y: Annotated[
        str | list[str] | None,
        Field(description="column of the tables, for curves also several; with a probe: the label of its values"),
    ] = None
    probe: Annotated[
        str | None,
        Field(description="probe that the study's runs record; classes: the confusion matrix, which every run has"),
    ] = None
    pick: Annotated[Pick, Field(description="rows of the probe that are used")] = Field(default_factory=Pick)
    where: Annotated[Where, Field(description="runs that are used: those with these values")] = Field(
        default_factory=Where
    )


if TYPE_CHECKING:
    KindName = str
else:
    KindName = Literal[tuple(KINDS)]


class Figure(Measure):
    """Figure of a study, drawn from the tables."""

    kind: Annotated[KindName, Field(description="; ".join(f"{name}: {k.description}" for name, k in KINDS.items()))]
    title: Annotated[str, Field(min_length=1, description="title of the figure")]
    x: Annotated[str | None, Field(description="sweep, heatmap: setting on the x axis; curves: epoch or step")] = None
    against: Annotated[str | None, Field(description="heatmap: setting on the y axis")] = None
    hue: Annotated[str | None, Field(description="setting shown by colour")] = None
    col: Annotated[str | None, Field(description="setting that divides the columns of facets")] = None
    row: Annotated[str | None, Field(description="setting that divides the rows of facets")] = None
    log: Annotated[
        bool | None, Field(description="whether the y axis is logarithmic; null: if losses span decades")
    ] = None
    low: Annotated[float | None, Field(description="curves: lower limit of the y axis; null: below all values")] = None
    within: Annotated[
        Positive | None,
        Field(
            description="sweep: mark the usable range of x, where no run fails and the mean is this near to the best"
        ),
    ] = None


class Published(Measure):
    """Published value, compared with that of the study's runs."""

    what: Annotated[str, Field(min_length=1, description="name of the quantity")]
    value: Annotated[
        float | list[float],
        Field(description="published value; a list: one per value of `by`, or the two ends of a usable range"),
    ]
    x: Annotated[
        Literal["learning_rate", "batch_size"] | None, Field(description="setting that a usable range is of")
    ] = None
    within: Annotated[
        Positive | None, Field(description="usable range: largest distance of the mean from the best")
    ] = None
    by: Annotated[
        Literal["step", "part", "layer", "quantity", "item"] | None,
        Field(description="column of the probe whose values a list follows"),
    ] = None


class Variant(Strict):
    """Changes of a study in a tier. Mappings are merged; a list replaces the list of the same key."""

    base: Settings = Field(default_factory=Settings)
    grid: Grid = Field(default_factory=Grid)


class Study(Strict):
    """Study: a question, base settings, a grid of runs, figures, published values and claims."""

    title: Annotated[str, Field(min_length=1, description="title in figures and reports")]
    question: Annotated[str, Field(min_length=1, description="question that the study answers")]
    work: Annotated[
        Name | None, Field(description="published work that the study repeats, a key of `works`; null: none")
    ] = None
    base: Annotated[Settings, Field(description="settings of all runs of the study")] = Field(default_factory=Settings)
    grid: Annotated[Grid, Field(description="settings that vary between the runs")]
    tiers: Annotated[dict[Tier, Variant], Field(description="changes of base and grid in a tier")] = {}
    figures: Annotated[dict[Name, Figure], Field(description="figures, in the order of the report")] = {}
    published: Annotated[list[Published], Field(description="published values, compared in the report")] = []
    claims: Annotated[dict[Name, Claim], Field(description="published statements that the study's runs test")] = {}
