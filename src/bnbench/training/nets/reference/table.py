"""The NumPy reference of each layer of a dense net, by the layer's class."""

from pkgutil import resolve_name

from bnbench.params.layers.activations import ACTIVATIONS
from bnbench.params.layers.norms import NORMS
from bnbench.params.layers.specs import LayerSpec
from bnbench.training.nets.layers import Dropout, Flatten, Linear
from bnbench.training.nets.reference import passes
from bnbench.training.nets.reference.passes import Pass

SPECS: tuple[LayerSpec, ...] = (*NORMS.values(), *ACTIVATIONS.values())
PASSES: dict[type, Pass] = {
    Flatten: passes.flatten,
    Linear: passes.linear,
    Dropout: passes.dropout,
    **{resolve_name(spec.layer): resolve_name(spec.reference) for spec in SPECS if spec.layer and spec.reference},
}
