"""Networks: forward, backward and statistics against torch.nn with automatic differentiation, in float64."""

import itertools

import pytest
import torch

from bnbench.params import architecture, norm_rules
from bnbench.training.nets.batch_norms import BatchNorm
from bnbench.training.nets.layers import Conv, Dropout, Moment
from bnbench.training.nets.network import Network
from tests.support import reference
from tests.support.little import run

SHAPE = (2, 6, 6)
MODELS = ["72-9-7-10", "5C3-P2-4C5-10D", "3C5-P2-6D-10D", "2K-1C2B-5D-10D"]
VARIANTS = [*itertools.product(["none", "batch"], ["pre", "post"], ["relu", "prelu", "sigmoid"])]
VARIANTS += [("batch", "pre", "leaky_relu"), ("batch", "pre", "tanh")]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("norm", "order", "activation"), VARIANTS)
def test_forward_backward_and_statistics_equal_torch_nn(model: str, norm: str, order: str, activation: str) -> None:
    settings = run(model=model, norm=norm, order=order, activation=activation, slope=0.2, norm_keep=0.7)
    seeds = [3, 4, 5]
    network = Network(settings, SHAPE)
    reference.double(network, seeds)
    x = torch.randn(3, 7, 6, 6, 2, generator=torch.Generator().manual_seed(0)).double()
    gradient = torch.randn(3, 7, 10, generator=torch.Generator().manual_seed(1)).double()
    nets = [reference.modules(settings, SHAPE) for _ in seeds]
    for row, net in enumerate(nets):
        reference.load(net, network, row)
    logits = network.forward(x, training=True)
    network.backward(gradient)
    tested = network.forward(x, training=False)
    for row, net in enumerate(nets):
        image = x[row].movedim(-1, 1)
        expected = net(image)
        expected.backward(gradient[row])
        torch.testing.assert_close(logits[row], expected)
        mine = [grad[row] for layer in network.layers for grad in layer.grads.values()]
        for one, other in zip(mine, reference.gradients(net), strict=True):
            torch.testing.assert_close(one, other.reshape(one.shape))
        running = [array[row] for layer in network.layers for array in layer.statistics.values()]
        for one, other in zip(running, reference.moving(net), strict=True):
            torch.testing.assert_close(one[0], other)
        torch.testing.assert_close(tested[row], net.eval()(image))


@pytest.mark.parametrize("model", MODELS)
def test_gradients_match_finite_differences(model: str) -> None:
    network = Network(run(model=model, activation="tanh"), SHAPE)
    arrays = reference.double(network, [0])
    x = torch.randn(1, 5, 6, 6, 2, generator=torch.Generator().manual_seed(2)).double()
    gradient = torch.randn(1, 5, 10, generator=torch.Generator().manual_seed(3)).double()
    network.forward(x, training=True)
    network.backward(gradient)
    grads = arrays["grads"][0].clone()
    for index in range(0, network.parameters, max(1, network.parameters // 20)):
        ends = []
        for shift in (1e-6, -2e-6):
            arrays["values"][0, index] += shift
            ends.append(float((network.forward(x, training=True) * gradient).sum()))
        arrays["values"][0, index] += 1e-6
        assert grads[index].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-7)


def test_batch_norm_cancels_a_scale_and_a_shift_before_it() -> None:
    layer = BatchNorm(4, gamma="learned", beta="learned", keep=0.9, population="moving", epsilon=1e-12)
    layer.values = {"gamma": torch.full((1, 1, 4), 2.0).double(), "beta": torch.ones(1, 1, 4).double()}
    layer.statistics = {name: torch.zeros(1, 1, 4).double() for name in layer.moving}
    x = torch.randn(1, 50, 4, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(layer.forward(x, True), layer.forward(x * 7 - 3, True))


def test_initial_weights_are_the_same_with_and_without_a_norm() -> None:
    rows = {}
    for norm in ("none", "batch"):
        network = Network(run(model="72-9-7-10", norm=norm), SHAPE)
        network.bind(*network.start([11]))
        rows[norm] = [layer.values["weight"] for layer in network.layers if "weight" in layer.values]
    for plain, normed in zip(rows["none"], rows["batch"], strict=True):
        assert torch.equal(plain, normed)


@pytest.mark.parametrize(("init", "std"), [("he", (2 / 72) ** 0.5), ("glorot", (2 / 472) ** 0.5), ("normal", 1)])
def test_initial_weights_have_the_standard_deviation_of_their_formula(init: str, std: float) -> None:
    network = Network(run(model="72-400-10", init=init), SHAPE)
    network.bind(*network.start([0]))
    weight = next(layer.values["weight"] for layer in network.layers if "weight" in layer.values)
    assert float(weight.std()) == pytest.approx(std, rel=0.02)


def test_a_bias_is_left_out_directly_before_a_norm_and_nowhere_else() -> None:
    def biases(**settings: str) -> list[bool]:
        network = Network(run(model="72-9-7-10", **settings), SHAPE)
        return ["bias" in layer.weights for layer in network.layers if "weight" in layer.weights]

    assert biases(norm="none") == [True, True, True]
    assert biases(norm="batch", order="pre") == [False, False, True]
    assert biases(norm="batch", order="post") == [True, True, True]


def test_the_count_of_parameters_equals_pytorchs() -> None:
    for model, norm in itertools.product(MODELS, ["none", "batch"]):
        settings = run(model=model, norm=norm, activation="prelu")
        count = sum(parameter.numel() for parameter in reference.modules(settings, SHAPE).parameters())
        assert Network(settings, SHAPE).parameters == count


def test_dropout_keeps_the_mean_drops_its_share_and_is_off_outside_training() -> None:
    layer = Dropout(0.3, place=1)
    layer.moment = Moment([0, 1], step=5)
    x = torch.ones(2, 100, 100)
    y = layer.forward(x, training=True)
    assert torch.equal(layer.forward(x, training=False), x)
    assert float((y == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(y.mean()) == pytest.approx(1, abs=0.02)
    assert not torch.equal(y[0], y[1])
    assert torch.equal(layer.backward(x, True), y)


def test_dropout_layers_follow_the_notation_and_the_setting() -> None:
    marked = Network(run(model="72-9-Dropout0.5-10D"), SHAPE)
    everywhere = Network(run(model="72-9-7-10", dropout=0.2), SHAPE)
    rates = [[layer.rate for layer in net.layers if isinstance(layer, Dropout)] for net in (marked, everywhere)]
    assert rates == [[0.5], [0.2, 0.2]]


# the published conv nets, for images of 3x32x32: filters, conv layers per block, blocks, units
PUBLISHED = {
    "64K-3C2B-256D-Dropout0.5-10D": (64, 3, 2, 256),
    "64K-3C3B-256D-Dropout0.5-10D": (64, 3, 3, 256),
    "64K-3C4B-256D-Dropout0.5-10D": (64, 3, 4, 256),
    "64K-4C3B-256D-Dropout0.5-10D": (64, 4, 3, 256),
    "256K-4C3B-1024D-Dropout0.5-10D": (256, 4, 3, 1024),
}


def _by_formula(width: int, convs: int, blocks: int, units: int) -> int:
    """Return the number of weights: conv and dense weights, gamma and beta of each hidden layer, the output's bias."""
    ends = [width << block for block in range(blocks)]
    channels = [3, *(end for end in ends for _ in range(convs))]
    weights = 9 * sum(a * b for a, b in itertools.pairwise(channels))
    flat = channels[-1] * (32 >> blocks) ** 2
    return weights + 2 * sum(channels[1:]) + flat * units + 2 * units + units * 10 + 10


@pytest.mark.parametrize("model", PUBLISHED)
def test_the_published_conv_nets_have_their_layers_and_parameters(model: str) -> None:
    width, convs, blocks, units = PUBLISHED[model]
    network = Network(run(model=model, activation="leaky_relu"), (3, 32, 32))
    kernels = [(layer.weights["weight"][-1], *layer.weights["weight"][:2]) for layer in network.layers if isinstance(layer, Conv)]
    assert kernels == [(width << block, 3, 3) for block in range(blocks) for _ in range(convs)]
    assert [layer.rate for layer in network.layers if isinstance(layer, Dropout)] == [0.5]
    assert network.parameters == _by_formula(width, convs, blocks, units)
    without = Network(run(model=model, activation="leaky_relu", norm_dense=False), (3, 32, 32))
    assert without.parameters == network.parameters - units  # without gamma and beta, but with a bias
    assert architecture.parse(model).inputs is None


def test_a_model_can_have_local_response_layers_and_a_norm() -> None:
    layers = Network(run(model="5C3-LRN-P2-10D", norm="batch"), SHAPE).layers
    kinds = [type(layer).__name__ for layer in layers]
    assert kinds == ["Conv", "BatchNorm", "Relu", "LocalResponse", "MaxPool", "Flatten", "Linear"]


@pytest.mark.parametrize("model", [*MODELS, "3C5-LRN-P2-6D-Dropout0.5-10D"])
@pytest.mark.parametrize("norm", ["none", "batch", "renorm", "group", "layer"])
@pytest.mark.parametrize(
    "changes", [{}, {"order": "post", "norm_beta": 0.0}, {"activation": "prelu", "norm_gamma": 2.0}]
)
def test_learned_numbers_and_shapes_are_those_counted_without_torch(
    model: str, norm: str, changes: dict[str, object]
) -> None:
    settings = run(model=model, norm=norm, norm_groups=1, norm_dense=False, **changes)
    network = Network(settings, SHAPE)
    reference.double(network, [0])
    assert sum(norm_rules.learned(settings, SHAPE)) == network.parameters
    outputs: list[torch.Tensor] = []
    network.forward(torch.zeros(1, 2, 6, 6, 2, dtype=torch.float64), trace=outputs)
    placed = architecture.trace(architecture.parse(model), SHAPE)
    assert placed[-1].values == outputs[-1][0, 0].numel()
    assert {row.values for row in placed} <= {array[0, 0].numel() for array in outputs}
