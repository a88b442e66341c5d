"""The norms: one entry each. Adding a norm is adding an entry here and a layer class.

From an entry follow the values that the schema allows, the checks of a parameter file, the layer that is trained and
its NumPy reference, label, colour and marker in figures and tables, the samples per statistic, and the settings that
the report shows.
"""

from bnbench.params.layers import norm_checks as check
from bnbench.params.layers.specs import SAMPLES, NormSpec, by_name, users

LAYERS = "bnbench.training.nets"
PASSES = "bnbench.training.nets.reference.norm_passes"
# arguments of the layers, and the settings that give them
AFFINE = {"gamma": "norm_gamma", "beta": "norm_beta"}
VARIANCE = AFFINE | {"epsilon": "norm_epsilon"}
RUNNING = {"keep": "norm_keep", "population": "population"}
RENORM = {name: f"renorm_{name}" for name in ("rmax", "dmax", "rmax_ramp", "dmax_ramp")}
RESPONSE = {name: f"lrn_{name}" for name in ("size", "alpha", "beta", "k")}

NORMS: dict[str, NormSpec] = by_name(
    NormSpec(name="none", label="no norm", colour="#4d4d4d", marker="s", dashed=True, layer=None),
    NormSpec(
        name="batch",
        label="batch norm",
        colour="#0072b2",
        marker="o",
        scope="mini-batch",
        cancels_bias=True,
        layer=f"{LAYERS}.batch_norms:BatchNorm",
        settings=VARIANCE | RUNNING,
        reference=f"{PASSES}:batch",
        checks=(check.variance_of_several,),
    ),
    NormSpec(
        name="center",
        label="centring only",
        colour="#e69f00",
        marker="^",
        scope="mini-batch",
        cancels_bias=True,
        layer=f"{LAYERS}.batch_norms:Center",
        settings=AFFINE | RUNNING,
        reference=f"{PASSES}:center",
        checks=(check.mean_of_several,),
    ),
    NormSpec(
        name="renorm",
        label="batch renorm",
        colour="#009e73",
        marker="D",
        scope="mini-batch",
        cancels_bias=True,
        layer=f"{LAYERS}.batch_norms:Renorm",
        settings=VARIANCE | RUNNING | RENORM,
        reference=f"{PASSES}:renorm",
        checks=(check.variance_of_several, check.ramps_within_training),
    ),
    NormSpec(
        name="ghost",
        label="ghost batch norm",
        colour="#56b4e9",
        marker="X",
        scope="part of a mini-batch",
        cancels_bias=True,
        layer=f"{LAYERS}.batch_norms:Ghost",
        settings=VARIANCE | RUNNING | {"parts": "norm_parts"},
        reference=f"{PASSES}:ghost",
        checks=(check.equal_parts,),
    ),
    NormSpec(
        name="group",
        label="group norm",
        colour="#cc79a7",
        marker="v",
        scope="sample",
        layer=f"{LAYERS}.sample_norms:Group",
        settings=VARIANCE | {"groups": "norm_groups"},
        reference=f"{PASSES}:group",
        checks=(check.equal_groups,),
    ),
    NormSpec(
        name="layer",
        label="layer norm",
        colour="#d55e00",
        marker="P",
        scope="sample",
        layer=f"{LAYERS}.sample_norms:LayerNorm",
        settings=VARIANCE,
        reference=f"{PASSES}:layer_norm",
        checks=(check.several_values,),
    ),
    NormSpec(
        name="local_response",
        label="local response norm",
        colour="#8c564b",
        marker="<",
        scope="sample",
        layer=f"{LAYERS}.sample_norms:LocalResponse",
        settings=RESPONSE,
        reference=f"{PASSES}:local_response",
        checks=(check.has_conv,),
    ),
)
# the layer that the token LRN of a model stands for
LRN = NORMS["local_response"]
# setting -> the norms that it has an effect on
USERS = users(NORMS)


def _scopes() -> str:
    """Return the norms by the samples that one of their statistics is computed from."""
    named = {scope: [spec.name for spec in NORMS.values() if spec.scope == scope] for scope in SAMPLES}
    return "; ".join(f"over a {scope}: {', '.join(names)}" for scope, names in named.items())


DESCRIPTION = f"normalisation of each hidden layer; statistics in training {_scopes()}"
