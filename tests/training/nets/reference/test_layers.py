"""The NumPy formulas against finite differences and against PyTorch, in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bnbench.training.nets.reference import layers as formulas
from bnbench.training.nets.reference import norms
from bnbench.training.nets.reference.layers import Array
from bnbench.training.pack import optimizers
from tests.support.little import run


def noise(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def differences(function: Callable[[Array], Array], at: Array, dy: Array) -> Array:
    """Return the gradient of sum(dy function(at)) by central differences."""
    gradient = np.empty_like(at)
    for index in np.ndindex(*at.shape):
        ends = []
        for shift in (1e-6, -1e-6):
            shifted = at.copy()
            shifted[index] += shift
            ends.append((dy * function(shifted)).sum())
        gradient[index] = (ends[0] - ends[1]) / 2e-6
    return gradient


X, WEIGHT, GAMMA, BETA = noise(0, 6, 4), noise(1, 4, 3), noise(2, 4), noise(3, 4)
IMAGES = noise(4, 4, 2, 3, 6)  # N, H, W, C
TARGET = np.eye(4)[[0, 1, 2, 3, 0, 1]]
GAMMAS, BETAS = noise(5, 6), noise(6, 6)
EPS = 1e-3
MASK = formulas.dropout_mask(np.random.default_rng(0).random((6, 4)), 0.4)
LRN = norms.Response(4, 0.5, 0.6, 1.5)
CORRECTION = norms.renorm_correction(IMAGES, (noise(7, 6), noise(8, 6) ** 2), (1.3, 0.4), EPS)

# name: (forward of one input, that input, backward of dy)
PASSES: dict[str, tuple[Callable[[Array], Array], Array, Callable[[Array], Array]]] = {
    "dense, x": (lambda x: formulas.dense(x, WEIGHT, 1.0), X, lambda dy: formulas.dense_back(dy, X, WEIGHT)[0]),
    "dense, weight": (lambda w: formulas.dense(X, w, 1.0), WEIGHT, lambda dy: formulas.dense_back(dy, X, WEIGHT)[1]),
    "dense, bias": (
        lambda b: formulas.dense(X, WEIGHT, b),
        noise(9, 3),
        lambda dy: formulas.dense_back(dy, X, WEIGHT)[2],
    ),
    "relu": (formulas.relu, X, lambda dy: formulas.relu_back(dy, X)),
    "leaky_relu": (lambda x: formulas.leaky_relu(x, 0.3), X, lambda dy: formulas.leaky_relu_back(dy, X, 0.3)),
    "prelu, x": (lambda x: formulas.prelu(x, GAMMA), X, lambda dy: formulas.prelu_back(dy, X, GAMMA)[0]),
    "prelu, slope": (
        lambda a: formulas.prelu(IMAGES, a),
        GAMMAS,
        lambda dy: formulas.prelu_back(dy, IMAGES, GAMMAS)[1],
    ),
    "sigmoid": (formulas.sigmoid, X, lambda dy: formulas.sigmoid_back(dy, formulas.sigmoid(X))),
    "tanh": (formulas.tanh, X, lambda dy: formulas.tanh_back(dy, formulas.tanh(X))),
    "dropout": (lambda x: formulas.dropout(x, MASK), X, lambda dy: formulas.dropout_back(dy, MASK)),
    "cross_entropy": (
        lambda z: np.array(formulas.cross_entropy(z, TARGET)),
        X,
        lambda dy: formulas.cross_entropy_back(X, TARGET) * dy,
    ),
    "local_response": (
        lambda x: norms.local_response(x, LRN),
        IMAGES,
        lambda dy: norms.local_response_back(dy, IMAGES, LRN),
    ),
}


def _norm(forward: Callable[..., Array], back: Callable[..., Any], *own: Any) -> dict[str, Any]:
    """Return forward and backward pass of a norm for its three inputs; `own`: its settings between x and gamma."""
    eps = () if forward is norms.center else (EPS,)
    return {
        "x": (lambda x: forward(x, *own, GAMMAS, BETAS, *eps), IMAGES, lambda dy: back(dy)[0]),
        "gamma": (lambda g: forward(IMAGES, *own, g, BETAS, *eps), GAMMAS, lambda dy: back(dy)[1]),
        "beta": (lambda b: forward(IMAGES, *own, GAMMAS, b, *eps), BETAS, lambda dy: back(dy)[2]),
    }


NORMS = {
    "batch": _norm(norms.batch_norm, lambda dy: [norms.batch_norm_back(dy, IMAGES, GAMMAS, EPS)[i] for i in (3, 4, 5)]),
    "center": _norm(norms.center, lambda dy: norms.center_back(dy, IMAGES, GAMMAS)),
    "ghost": _norm(norms.ghost_norm, lambda dy: norms.ghost_norm_back(dy, IMAGES, 2, GAMMAS, EPS), 2),
    "group": _norm(norms.group_norm, lambda dy: norms.group_norm_back(dy, IMAGES, 3, GAMMAS, EPS), 3),
    "layer": _norm(norms.layer_norm, lambda dy: norms.layer_norm_back(dy, IMAGES, GAMMAS, EPS)),
    "renorm": _norm(  # r and d are treated as constants
        lambda x, *rest: norms.renorm(x, CORRECTION, *rest),
        lambda dy: norms.renorm_back(dy, IMAGES, CORRECTION, GAMMAS, EPS),
    ),
}
PASSES |= {f"{norm}, {name}": one for norm, passes in NORMS.items() for name, one in passes.items()}


@pytest.mark.parametrize("name", PASSES)
def test_a_backward_pass_matches_finite_differences(name: str) -> None:
    forward, at, back = PASSES[name]
    dy = noise(10, *forward(at).shape)
    np.testing.assert_allclose(back(dy), differences(forward, at, dy), rtol=1e-5, atol=1e-7)


def _torch(x: Array) -> Tensor:
    return torch.from_numpy(x)


def _channels_first(function: Callable[..., Tensor]) -> Callable[[Array], Tensor]:
    return lambda x: function(_torch(x).movedim(-1, 1)).movedim(1, -1)


SAME: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Tensor], Array]] = {
    "dense": (
        lambda x: formulas.dense(x, WEIGHT, BETA[:3]),
        lambda x: _torch(x) @ _torch(WEIGHT) + _torch(BETA[:3]),
        X,
    ),
    "relu": (formulas.relu, lambda x: nn.functional.relu(_torch(x)), X),
    "leaky_relu": (lambda x: formulas.leaky_relu(x, 0.3), lambda x: nn.functional.leaky_relu(_torch(x), 0.3), X),
    "prelu": (lambda x: formulas.prelu(x, GAMMA), lambda x: nn.functional.prelu(_torch(x), _torch(GAMMA)), X),
    "sigmoid": (formulas.sigmoid, lambda x: torch.sigmoid(_torch(x)), 400 * X),
    "tanh": (formulas.tanh, lambda x: torch.tanh(_torch(x)), X),
    "softmax": (formulas.softmax, lambda x: torch.softmax(_torch(x), -1), 400 * X),
    "cross_entropy": (
        lambda x: np.array(formulas.cross_entropy(x, TARGET)),
        lambda x: nn.functional.cross_entropy(_torch(x), _torch(TARGET), reduction="sum"),
        400 * X,
    ),
    "batch": (
        lambda x: norms.batch_norm(x, GAMMAS, BETAS, EPS),
        _channels_first(
            lambda x: nn.functional.batch_norm(x, None, None, _torch(GAMMAS), _torch(BETAS), training=True, eps=EPS)
        ),
        IMAGES,
    ),
    "group": (
        lambda x: norms.group_norm(x, 3, GAMMAS, BETAS, EPS),
        _channels_first(lambda x: nn.functional.group_norm(x, 3, _torch(GAMMAS), _torch(BETAS), EPS)),
        IMAGES,
    ),
    "layer": (
        lambda x: norms.layer_norm(x, 1.0, 0.0, EPS),
        lambda x: nn.functional.layer_norm(_torch(x), x.shape[1:], eps=EPS),
        IMAGES,
    ),
    "local_response": (
        lambda x: norms.local_response(x, LRN),
        _channels_first(lambda x: nn.functional.local_response_norm(x, *LRN)),
        IMAGES,
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_a_forward_pass_equals_pytorchs(name: str) -> None:
    mine, theirs, x = SAME[name]
    np.testing.assert_allclose(mine(x), theirs(x).numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", norms.Gradients._fields)
@pytest.mark.parametrize("x", [X, IMAGES], ids=["dense", "conv"])
def test_each_of_batch_norms_six_gradients_equals_automatic_differentiation(name: str, x: Array) -> None:
    channels = x.shape[-1]
    gamma, dy = noise(11, channels), noise(12, *x.shape)
    steps = {name: _torch(value).requires_grad_() for name, value in (("x", x), ("gamma", gamma), ("beta", 0 * gamma))}
    axes = tuple(range(x.ndim - 1))
    steps["mean"] = steps["x"].mean(axes, keepdim=True)
    steps["variance"] = ((steps["x"] - steps["mean"]) ** 2).mean(axes, keepdim=True)
    steps["normal"] = (steps["x"] - steps["mean"]) / (steps["variance"] + EPS).sqrt()
    y = steps["gamma"] * steps["normal"] + steps["beta"]
    (expected,) = torch.autograd.grad(y, steps[name], _torch(dy))
    found = getattr(norms.batch_norm_back(dy, x, gamma, EPS), name)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-10, atol=1e-12)


def test_dropouts_mask_drops_its_share_and_keeps_the_mean() -> None:
    mask = formulas.dropout_mask(np.random.default_rng(0).random((300, 300)), 0.3)
    assert set(np.unique(mask)) == {0, 1 / 0.7}
    assert mask.mean() == pytest.approx(1, abs=0.01)


def test_updates_equal_those_of_torch_optim() -> None:
    settings = run(beta2=0.99)
    betas = (settings.beta1, settings.beta2)
    first, grads = noise(0, 5), noise(1, 20, 5)
    makes: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
        "sgd": lambda weights: torch.optim.SGD(weights, 0.1, settings.momentum),
        "adam": lambda weights: torch.optim.Adam(weights, 0.1, betas, settings.adam_epsilon),
    }
    assert list(makes) == list(optimizers.OPTIMIZERS)
    for name, make in makes.items():
        theirs, weight, (one, two) = _torch(first.copy()), first.copy(), np.zeros((2, 5))
        update = make([theirs])
        for step, grad in enumerate(grads, 1):
            theirs.grad = _torch(grad)
            update.step()
            if name == "sgd":
                weight, one = formulas.sgd(weight, one, grad, 0.1, settings.momentum)
            else:
                one, two = formulas.adam_moments(one, two, grad, betas)
                weight = weight - 0.1 * formulas.adam_step(one, two, betas, settings.adam_epsilon, step)
        np.testing.assert_allclose(weight, theirs.numpy(), rtol=1e-9)


def test_the_unbiased_variance_is_numpys_with_one_degree_of_freedom_less() -> None:
    _, variance = norms.mean_variance(X, (0,))
    np.testing.assert_allclose(norms.unbiased(variance, len(X))[0], X.var(axis=0, ddof=1))
    np.testing.assert_allclose(norms.moving_average(X, X + 1, 0.9), X + 0.1)
