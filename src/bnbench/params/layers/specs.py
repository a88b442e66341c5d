"""Specifications of norms and activations: everything in which two norms or two activations differ, without torch.

A layer class and its NumPy reference are named as `"module:object"`, so that planning, tables and figures read the
same entry as training and need no torch. The entries are in `params.layers.norms` and `params.layers.activations`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from bnbench.params.run_schema import Run

# samples of a training step that one statistic is computed from -> their number, from batch size and number of parts
SAMPLES: dict[str, Callable[[int, int], int]] = {
    "mini-batch": lambda batch_size, _parts: batch_size,
    "part of a mini-batch": lambda batch_size, parts: batch_size // parts,
    "sample": lambda _batch_size, _parts: 1,
}
Scope = Literal["mini-batch", "part of a mini-batch", "sample"]
# a setting, and why its value is invalid
Violation = tuple[str, str]


@dataclass(frozen=True)
class NormedLayers:
    """The normalised layers of a run, as the checks of its norm receive them.

    Attributes:
        run: the run's settings.
        samples: samples that one statistic is computed from in training.
        sizes: channels of each layer, and values of one sample in one channel (height times width).
    """

    run: "Run"
    samples: int
    sizes: Sequence[tuple[int, int]]


Check = Callable[[NormedLayers], Iterator[Violation]]


@dataclass(frozen=True, kw_only=True)
class LayerSpec:
    """Specification of a layer: the attributes that norms and activations share.

    Attributes:
        name: the value in `params.yaml`.
        label: the name in figures, tables and the report.
        layer: `"module:Class"` of the layer, constructed as `Class(channels, **settings)`; None: no layer.
        settings: arguments of the layer -> keys of a run. No other setting has an effect on the layer.
        reference: `"module:function"` of the same layer in NumPy; None: `backend: numpy` is refused.

    Raises:
        ValueError: a name is malformed.
    """

    name: str
    label: str
    layer: str | None
    settings: Mapping[str, str] = field(default_factory=dict)
    reference: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z]\w*", self.name, re.ASCII):
            raise ValueError(
                f"{self.name!r} is not a valid name of a norm or an activation; use lower-case letters, digits, _"
            )
        for named in (self.layer, self.reference):
            if named is not None and not re.fullmatch(r"[\w.]+:\w+", named):
                raise ValueError(f"{self.name}: {named!r} is not the name of an object; write it as 'module:object'")


@dataclass(frozen=True, kw_only=True)
class NormSpec(LayerSpec):
    """Specification of a norm.

    Attributes:
        colour: colour of its lines in every figure.
        marker: matplotlib's marker of its points.
        dashed: whether its lines are dashed.
        scope: the samples that one statistic is computed from in training; None only for `none`, which has no layer.
        cancels_bias: whether it subtracts a mean per channel over several samples, which cancels a preceding bias.
        checks: checks of its settings against the other settings of a run.

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
            rule = f"a norm declares the samples that one statistic is computed from: {', '.join(map(repr, SAMPLES))}"
            raise ValueError(f"norm {self.name}: scope is {self.scope!r}; {rule}")

    @property
    def learned(self) -> tuple[str, ...]:
        """Keys of its settings that may be `learned`, as one parameter per channel: gamma and beta."""
        return tuple(key for key in self.settings.values() if key in ("norm_gamma", "norm_beta"))

    def samples(self, batch_size: int, parts: int) -> int | None:
        """Return how many samples one statistic is computed from in training; None without a norm."""
        return SAMPLES[self.scope](batch_size, parts) if self.scope else None


@dataclass(frozen=True, kw_only=True)
class ActivationSpec(LayerSpec):
    """Specification of an activation; `learned` is its number of learned parameters per channel."""

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
            raise ValueError(f"{spec.name} is defined twice; names of norms and of activations are unique")
        table[spec.name] = spec
    return table


def users(table: Mapping[str, LayerSpec]) -> dict[str, set[str]]:
    """Return, for each setting that a table's layers use, the names of the layers that use it."""
    keys = {key for spec in table.values() for key in spec.settings.values()}
    return {key: {name for name, spec in table.items() if key in spec.settings.values()} for key in sorted(keys)}
