"""The NumPy reference of each layer of a dense net, by the layer's class."""

from pkgutil import resolve_name

from bnbench.params.activations import ACTIVATIONS
from bnbench.params.layer_specs import LayerSpec
from bnbench.params.norms import NORMS
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
