"""The activations: one entry each. Adding an activation is adding an entry here and a layer class."""

from bnbench.params.layers.specs import ActivationSpec, by_name, users

LAYERS = "bnbench.training.nets.activations"
PASSES = "bnbench.training.nets.reference.passes"

ACTIVATIONS: dict[str, ActivationSpec] = by_name(
    ActivationSpec(name="relu", label="ReLU", layer=f"{LAYERS}:Relu", reference=f"{PASSES}:relu"),
    ActivationSpec(
        name="leaky_relu",
        label="leaky ReLU",
        layer=f"{LAYERS}:LeakyRelu",
        settings={"slope": "slope"},
        reference=f"{PASSES}:leaky_relu",
    ),
    ActivationSpec(
        name="prelu",
        label="PReLU",
        layer=f"{LAYERS}:PRelu",
        settings={"slope": "slope"},
        reference=f"{PASSES}:prelu",
        learned=1,
    ),
    ActivationSpec(name="sigmoid", label="sigmoid", layer=f"{LAYERS}:Sigmoid", reference=f"{PASSES}:sigmoid"),
    ActivationSpec(name="tanh", label="tanh", layer=f"{LAYERS}:Tanh", reference=f"{PASSES}:tanh"),
)
# setting -> the activations that it has an effect on
USERS = users(ACTIVATIONS)
