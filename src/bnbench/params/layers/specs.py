"""Specifications of norms and activations: everything that differs between two of a kind, without importing torch.

A layer class and its NumPy reference are named as `"module:object"`, so that planning, tables and figures read the
same entry as training and need no torch. The entries are in `params.layers.norms` and `params.layers.activations`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from bnbench.params.run_schema import Run

# samples of a training step that one statistic is computed from -> their number, of a batch size and a number of parts
SAMPLES: dict[str, Callable[[int, int], int]] = {
    "mini-batch": lambda batch_size, _parts: batch_size,
    "part of a mini-batch": lambda batch_size, parts: batch_size // parts,
    "sample": lambda _batch_size, _parts: 1,
}
Scope = Literal["mini-batch", "part of a mini-batch", "sample"]
# a setting and what is wrong with it
Violation = tuple[str, str]


@dataclass(frozen=True)
class NormedLayers:
    """The layers of a run that have its norm, as a check of that norm sees them.

    Attributes:
        run: the run's settings.
        samples: samples that one statistic is computed from in training.
        sizes: of each layer its channels, and the values of one sample in one of them (height times width).
    """

    run: "Run"
    samples: int
    sizes: Sequence[tuple[int, int]]


Check = Callable[[NormedLayers], Iterator[Violation]]


@dataclass(frozen=True, kw_only=True)
class LayerSpec:
    """What a norm and an activation have in common.

    Attributes:
        name: the value in `params.yaml`.
        label: the name in figures, tables and the report.
        layer: `"module:Class"` of the layer, built as `Class(channels, **settings)`; None: no layer.
        settings: the layer's arguments, and the key of a run that gives each. No other setting has an effect.
        reference: `"module:function"` of the same layer in NumPy; None: `backend: numpy` is refused.
        compiled: whether the compiled training step has a program of it. Without one it trains by torch operations.

    Raises:
        ValueError: a name is malformed.
    """

    name: str
    label: str
    layer: str | None
    settings: Mapping[str, str] = field(default_factory=dict)
    reference: str | None = None
    compiled: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z]\w*", self.name, re.ASCII):
            raise ValueError(f"{self.name!r} is no name of a norm or an activation; use lower-case letters, digits, _")
        for named in (self.layer, self.reference):
            if named is not None and not re.fullmatch(r"[\w.]+:\w+", named):
                raise ValueError(f"{self.name}: {named!r} names no object; write it as 'module:object'")


@dataclass(frozen=True, kw_only=True)
class NormSpec(LayerSpec):
    """A norm.

    Attributes:
        colour: of its lines in every figure.
        marker: of its points, matplotlib's character.
        dashed: whether its lines are dashed.
        scope: the samples that one statistic is computed from in training; None for no norm alone.
        cancels_bias: whether it subtracts a mean per channel over several samples, and with it a bias put before it.
        checks: of its settings against the rest of a run.

    Raises:
        ValueError: a norm with a layer declares no scope.
    """

    colour: str
    marker: str
    dashed: bool = False
    scope: Scope | None = None
    cancels_bias: bool = False
    checks: tuple[Check, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.scope in SAMPLES) != (self.layer is not None):
            rule = f"a norm declares over which samples its statistics are: {', '.join(map(repr, SAMPLES))}"
            raise ValueError(f"norm {self.name}: scope is {self.scope!r}; {rule}")

    @property
    def learned(self) -> tuple[str, ...]:
        """Keys of the settings that give it a learned number per channel if they are `learned`: gamma and beta."""
        return tuple(key for key in self.settings.values() if key in ("norm_gamma", "norm_beta"))

    def samples(self, batch_size: int, parts: int) -> int | None:
        """Return how many samples one statistic is computed from in training; None without a norm."""
        return SAMPLES[self.scope](batch_size, parts) if self.scope else None


@dataclass(frozen=True, kw_only=True)
class ActivationSpec(LayerSpec):
    """An activation; `learned` is the count of its learned numbers per channel."""

    layer: str
    learned: int = 0


Spec = TypeVar("Spec", bound=LayerSpec)


def by_name(*specs: Spec) -> dict[str, Spec]:
    """Return a table of specifications by name.

    Raises:
        ValueError: two have the same name.
    """
    table: dict[str, Spec] = {}
    for spec in specs:
        if spec.name in table:
            raise ValueError(f"{spec.name} is defined twice; every norm and every activation has a name of its own")
        table[spec.name] = spec
    return table


def users(table: Mapping[str, LayerSpec]) -> dict[str, set[str]]:
    """Return for each setting that a table's layers take the names of those that take it."""
    keys = {key for spec in table.values() for key in spec.settings.values()}
    return {key: {name for name, spec in table.items() if key in spec.settings.values()} for key in sorted(keys)}
