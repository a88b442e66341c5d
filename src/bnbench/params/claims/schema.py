"""Schema of works and claims: a published statement as a test over the runs of a study.

A claim has one test. `TESTS` lists the kinds of tests; each is a model here, an entry of `bnbench.claims.kinds.JUDGES`,
and needs nothing else.
"""

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from bnbench.params.fields import Name, Positive, Strict, Tier, limits
from bnbench.params.run_schema import Axes, Pick, Where

# how a run's many measured numbers (layers, steps, bins) become the one that is compared; `claims.reductions` has them
REDUCTIONS = {
    "mean": "mean",
    "smallest": "smallest",
    "largest": "largest",
    "spread": "largest minus smallest",
    "decades": "log10 of largest / smallest",
    "last": "that of the last step, layer and item",
    "variation": "standard deviation over steps, mean over layers and items",
    "drift": "of histograms: standard deviation of their mean over steps, relative to their width",
    "mismatch": "of histograms: distance of train and valid, relative to their width",
}
if TYPE_CHECKING:
    ReductionName = str
else:
    ReductionName = Literal[tuple(REDUCTIONS)]


class Work(Strict):
    """Published work that studies repeat."""

    title: Annotated[str, Field(min_length=1, description="title, translated if need be")]
    kind: Annotated[str, Field(min_length=1, description="article, tutorial, report, ...")]
    year: Annotated[int | None, Field(ge=1900, le=2200, description="year of publication; null: not stated")] = None
    url: Annotated[str | None, Field(min_length=1, description="public address; null: there is none")] = None
    about: Annotated[str, Field(min_length=1, description="one sentence: what was done")]


class Arm(Where):
    """Runs that a test compares: those with these values; and the rows of a probe, where they differ by them."""

    model: Annotated[
        str | list[str] | None, Field(description="shorthand of the layers; a list: any of these, one in each tier")
    ] = None
    pick: Annotated[Pick | None, Field(description="rows of the probe, in addition to the test's `pick`")] = None


class Contrast(Strict):
    """Quantity that is compared: one number per run, or per seed where `across` joins several runs.

    The arms are paired by seed: runs of a seed have the same initial weights and data order.
    """

    kind: str
    study: Annotated[Name | None, Field(description="study whose runs are compared; null: the claim's own")] = None
    y: Annotated[
        str | None, Field(description="column of the tables; with a probe: the name of its values, as `accuracy`")
    ] = None
    probe: Annotated[str | None, Field(description="probe that the runs record; classes: the confusion matrix")] = None
    pick: Annotated[Pick, Field(description="rows of the probe that are used")] = Field(default_factory=Pick)
    where: Annotated[Arm, Field(description="runs of all arms: those with these values")] = Field(default_factory=Arm)
    during: Annotated[bool, Field(description="take y from every evaluation in training; needs `reduce`")] = False
    reduce: Annotated[
        ReductionName | None,
        Field(description="; ".join(f"{name}: {text}" for name, text in REDUCTIONS.items())),
    ] = None
    across: Annotated[str | None, Field(description="setting over whose values `reduce` joins runs")] = None
    reach: Annotated[
        float | dict[Tier, float] | None,
        Field(
            description="compare how long training takes until y reaches this (a loss: falls to it); may be per tier"
        ),
    ] = None
    count: Annotated[Literal["step", "epoch"], Field(description="unit in which `reach` counts")] = "step"
    log: Annotated[bool, Field(description="compare ratios: effects in decades (1: ten times as large)")] = False
    each: Annotated[
        str | None, Field(description="setting (or `network`) at each of whose values the test has to hold")
    ] = None
    smallest: Annotated[Positive, Field(description="smallest effect that matters, in the unit of the effect")]
    published: Annotated[list[float], Field(description="published value of each arm, in their order")] = []

    @property
    def arms(self) -> dict[str, Arm]:
        """The arms by the key that declares them, in their order."""
        return {
            name: value for name in type(self).model_fields if isinstance(value := getattr(self, name), Arm)
            and name != "where"
        }  # fmt: skip

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the greatest value that an arm can have."""
        named = self.reach is None and self.reduce not in ("decades", "drift", "mismatch")
        return limits(self.y or "") if named else (-math.inf, math.inf)

    def target(self, tier: Tier) -> float | None:
        """Return the value to be reached in a tier; None: the test is not about reaching one."""
        return self.reach.get(tier) if isinstance(self.reach, dict) else self.reach


class Difference(Contrast):
    """Test that y is larger in one arm than in the other."""

    kind: Literal["difference"]
    more: Annotated[Arm, Field(description="runs whose y is said to be larger")]
    less: Annotated[Arm, Field(description="runs whose y is said to be smaller")]


class Equivalence(Contrast):
    """Test that y differs between two arms by less than `smallest`, by two one-sided tests."""

    kind: Literal["equivalence"]
    one: Annotated[Arm, Field(description="runs of one arm")]
    other: Annotated[Arm, Field(description="runs of the other arm")]


class NotWorse(Contrast):
    """Test that y in one arm is at least that of the other, less `smallest`."""

    kind: Literal["not_worse"]
    one: Annotated[Arm, Field(description="runs that are said to be at least as good")]
    other: Annotated[Arm, Field(description="runs that they are compared with")]


class Level(Contrast):
    """Test that y attains a stated number, to within `smallest`."""

    kind: Literal["level"]
    side: Annotated[Literal["at_least", "at_most"], Field(description="whether y is said to be above or below it")]
    value: Annotated[float, Field(description="the number, as published")]


class Faster(Contrast):
    """Test that training reaches a value of y sooner in one arm: effects are decades of steps or epochs.

    A run that never reaches it is censored at its end: it would have taken longer.
    """

    kind: Literal["faster"]
    y: Annotated[str, Field(description="column of the table `history`")]
    reach: Annotated[float | dict[Tier, float], Field(description="value to be reached; may be per tier")]
    fast: Annotated[Arm, Field(description="runs that are said to be faster")]
    slow: Annotated[Arm, Field(description="runs that are said to be slower")]


class Range(Contrast):
    """Test that the usable range of a setting is wider (or reaches higher) in one arm: effects in decades.

    Usable are the values around the best at which no run failed and y is at most `within` below the best.
    """

    kind: Literal["range"]
    x: Annotated[Literal["learning_rate", "batch_size"], Field(description="setting that the range is of")]
    within: Annotated[Positive, Field(description="largest distance of y from the best of the same arm and seed")]
    end: Annotated[Literal["width", "highest"], Field(description="compare the width, or the highest value")] = "width"
    wide: Annotated[Arm, Field(description="runs whose range is said to be wider, or to reach higher")]
    narrow: Annotated[Arm, Field(description="runs that they are compared with")]


class Interaction(Contrast):
    """Test that the difference between `more` and `less` is larger in some runs than in others."""

    kind: Literal["interaction"]
    more: Annotated[Arm, Field(description="runs of the first arm of both differences")]
    less: Annotated[Arm, Field(description="runs of the second arm of both differences")]
    gains: Annotated[Arm, Field(description="runs in which the difference is said to be larger")]
    than: Annotated[Arm, Field(description="runs in which it is said to be smaller")]


class Order(Contrast):
    """Test that y falls from each arm to the next: an intersection-union test of neighbours."""

    kind: Literal["order"]
    ranks: Annotated[list[Arm], Field(min_length=2, description="the arms, the one of largest y first")]

    @property
    def arms(self) -> dict[str, Arm]:
        """The arms by their rank from 1."""
        return {str(rank): arm for rank, arm in enumerate(self.ranks, 1)}


Simple = Annotated[
    Difference | Equivalence | NotWorse | Level | Faster | Range | Interaction | Order, Field(discriminator="kind")
]


class Every(Strict):
    """Test that all of several tests hold: an intersection-union test."""

    kind: Literal["every"]
    parts: Annotated[list[Simple], Field(min_length=1, description="the tests, each of which has to hold")]


ClaimTest = Annotated[
    Difference | Equivalence | NotWorse | Level | Faster | Range | Interaction | Order | Every,
    Field(discriminator="kind"),
]
TESTS: dict[str, type[Strict]] = {
    "difference": Difference,
    "equivalence": Equivalence,
    "not_worse": NotWorse,
    "level": Level,
    "faster": Faster,
    "range": Range,
    "interaction": Interaction,
    "order": Order,
    "every": Every,
}


class Claim(Strict):
    """Published statement, and how the runs of this study test it."""

    statement: Annotated[str, Field(min_length=1, description="the statement, in words")]
    source: Annotated[str, Field(min_length=1, description="where the work states it: section, figure, table")]
    needs: Annotated[
        Axes,
        Field(
            description="settings that make the runs a replication, with the values allowed for each; runs with others "
            "are a demonstration"
        ),
    ]
    test: Annotated[ClaimTest, Field(description="comparison that decides it: `kind` and its keys")]

    @property
    def parts(self) -> list[Contrast]:
        """The tests that have to hold: one, or the parts of `every`."""
        return list(self.test.parts) if isinstance(self.test, Every) else [self.test]


SEEDS = 2  # fewest seeds that a claim can be judged with
