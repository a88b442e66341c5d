"""The peers of the benchmark train the same networks: same first weights' distribution, same steps."""

import functools
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.grids import layers
from benchmarks.peers import plain_torch, task
from torch import Tensor

from bnbench.network import Network
from bnbench.pack import Pack
from bnbench.schema import Run
from bnbench.train import start, train_step
from tests import little

DENSE = {"model": "64-100-20-10", "activation": "sigmoid", "optimizer": "sgd", "momentum": 0.0, "batch_size": 60}
WIDE = {"model": "64-300-10", "activation": "relu", "optimizer": "adam", "learning_rate": 0.01, "batch_size": 100}
CONV = {"model": "4K-2C2B-10D", "activation": "relu", "optimizer": "adam", "learning_rate": 0.01, "batch_size": 32}
KINDS = [
    pytest.param(DENSE | {"norm": "batch"}, id="sigmoid, batch norm, sgd"),
    pytest.param(DENSE | {"norm": "none", "momentum": 0.9}, id="sigmoid, no norm, momentum"),
    pytest.param(WIDE | {"norm": "batch"}, id="relu, batch norm, adam"),
    pytest.param(WIDE | {"norm": "none"}, id="relu, no norm, adam"),
    pytest.param(CONV | {"norm": "batch"}, id="conv, batch norm, adam"),
]
SHAPE = (1, 8, 8)
STEPS = 4


def told(run: Run) -> task.Run:
    """The run as a peer reads it."""
    return run.model_dump() | {"run_id": "0" * 16, "layers": layers(run.model), "shape": SHAPE, "data": "nowhere"}


@functools.cache
def ours(settings: tuple[tuple[str, Any], ...]) -> tuple[Run, list[float], list[Tensor], dict[str, Tensor]]:
    """A run's losses in its first steps, their batches, and the weights that it began with."""
    run = little.run(**dict(settings))
    pack: Pack = start(["0" * 16], [run], little.digits())
    pack.bind()
    first = pack.network.named(pack.arrays["values"], pack.arrays["moving"])[0]
    losses, batches = [], []
    for step in range(STEPS):
        x, target = pack.batch(step)
        batches += [x[0].clone(), target[0].argmax(-1)]
        train_step(pack)
        losses.append(float(pack.arrays["losses"][0, step]))
    return run, losses, batches, first


def modules(first: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """The weights of each layer that has some, in order."""
    numbers = sorted({int(name.split(".")[1]) for name in first})
    return [{name.split(".")[2]: v for name, v in first.items() if name.startswith(f"layers.{n}.")} for n in numbers]


def in_torch(mine: dict[str, Tensor], channels: int) -> list[Tensor]:
    """Our arrays in the layout of plain PyTorch: weight, bias; `channels` of the images before a dense layer."""
    if "gamma" in mine:
        return [mine["gamma"][0], mine["beta"][0]]
    weight = mine["weight"]
    if weight.dim() == 4:
        weight = weight.permute(0, 3, 1, 2)
    else:
        weight = weight.view(-1, channels, weight.shape[1]).transpose(0, 1).reshape(weight.shape).T
    return [weight, *([mine["bias"][0]] if "bias" in mine else [])]


@pytest.mark.parametrize("settings", KINDS)
def test_plain_torch_has_the_losses_of_the_same_run(settings: dict[str, Any]) -> None:
    run, losses, batches, first = ours(tuple(settings.items()))
    net = plain_torch.build(told(run))
    learned = [module for module in net if list(module.parameters())]
    channels = 1
    for module, mine in zip(learned, modules(first), strict=True):
        for target, value in zip(module.parameters(), in_torch(mine, channels), strict=True):
            target.data.copy_(value)
        channels = len(mine["weight"]) if "weight" in mine and mine["weight"].dim() == 4 else channels
        channels = 1 if isinstance(module, torch.nn.Linear) else channels
    optimiser = plain_torch.optimizer(told(run), net)
    seen = []
    for x, y in zip(batches[::2], batches[1::2], strict=True):
        images = x.permute(0, 3, 1, 2) if task.convolves(told(run)) else x.flatten(1)
        seen.append(plain_torch.step(net, optimiser, images, y).item())
    assert seen == pytest.approx(losses, abs=1e-5)


@pytest.mark.parametrize("settings", KINDS)
def test_jax_has_the_losses_of_the_same_run(settings: dict[str, Any]) -> None:
    jax = pytest.importorskip("jax")
    from benchmarks.peers import jax_net

    run, losses, batches, first = ours(tuple(settings.items()))
    state = jax_net.start(told(run))
    mine = iter(modules(first))
    for params in state["params"]:
        for name in params:
            if name in ("weight", "gamma"):  # each opens a layer of ours; bias and beta are in the same
                arrays = next(mine)
            value = arrays[name]
            value = value.permute(1, 2, 3, 0).flatten(0, 2) if value.dim() == 4 else value
            params[name] = value.numpy().reshape(params[name].shape)
    step = jax.jit(functools.partial(jax_net.step, told(run)))
    seen = []
    for x, y in zip(batches[::2], batches[1::2], strict=True):
        images = x if task.convolves(told(run)) else x.flatten(1)
        state, loss = step(state, images.numpy(), y.numpy())
        seen.append(float(loss))
    assert seen == pytest.approx(losses, abs=1e-5)


def weights(peer: str, run: Run) -> list[np.ndarray[Any, Any]]:
    """A peer's first weights, norms' included."""
    if peer == "plain torch":
        return [p.detach().numpy() for p in plain_torch.build(told(run)).parameters()]
    pytest.importorskip("jax")
    from benchmarks.peers import jax_net

    return [array for params in jax_net.start(told(run))["params"] for array in params.values()]


@pytest.mark.parametrize("peer", ["plain torch", "JAX"])
@pytest.mark.parametrize("settings", KINDS)
def test_a_peers_first_weights_are_as_many_and_as_large(settings: dict[str, Any], peer: str) -> None:
    torch.manual_seed(0)
    run = little.run(**settings)
    network = Network(run, SHAPE)
    arrays = weights(peer, run)
    assert sum(array.size for array in arrays) == network.parameters
    drawn = [array for array in arrays if array.ndim > 1]
    own = [layer for layer in network.layers if "weight" in layer.weights]
    for array, layer in zip(drawn, own, strict=True):
        ours = layer.start("weight", 0)
        assert isinstance(ours, Tensor)
        few = 5 / np.sqrt(2 * array.size)  # five standard errors of a deviation, relative
        assert array.std() == pytest.approx(float(layer.deviation), rel=few)  # type: ignore[attr-defined]
        assert float(ours.std()) == pytest.approx(float(array.std()), rel=2 * few)
        assert abs(array.mean()) < 5 * array.std() / np.sqrt(array.size)
