"""The peer programs train the same networks: same distribution of initial weights, same training steps."""

import functools
import importlib.util
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.grids import layers
from benchmarks.peers import plain_torch, task
from numpy.typing import NDArray
from torch import Tensor

from bnbench.params.run_schema import Run
from bnbench.training.engine.step import train_step
from bnbench.training.nets.network import Network
from bnbench.training.pack.pack import Pack
from bnbench.training.train import start
from tests.support import little

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
Array = NDArray[Any]


def told(run: Run) -> task.Run:
    """Return the run in the format that a peer program reads."""
    return run.model_dump() | {"run_id": "0" * 16, "layers": layers(run.model), "shape": SHAPE, "data": "nowhere"}


@functools.cache
def ours(settings: tuple[tuple[str, Any], ...]) -> tuple[Run, list[float], list[Tensor], dict[str, Tensor]]:
    """Return a run, its losses in the first steps, their mini-batches and its initial weights."""
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
    """Return the weights of each layer that has any, in order."""
    numbers = sorted({int(name.split(".")[1]) for name in first})
    return [{name.split(".")[2]: v for name, v in first.items() if name.startswith(f"layers.{n}.")} for n in numbers]


def in_torch(mine: dict[str, Tensor], channels: int) -> list[Tensor]:
    """Convert a layer's arrays to plain PyTorch's layout; `channels`: image channels before a dense layer."""
    if "gamma" in mine:
        return [mine["gamma"][0], mine["beta"][0]]
    weight = mine["weight"]
    if weight.dim() == 4:
        weight = weight.permute(3, 2, 0, 1)
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
        channels = mine["weight"].shape[-1] if "weight" in mine and mine["weight"].dim() == 4 else channels
        channels = 1 if isinstance(module, torch.nn.Linear) else channels
    optimiser = plain_torch.optimizer(told(run), net)
    seen = []
    for x, y in zip(batches[::2], batches[1::2], strict=True):
        images = x.permute(0, 3, 1, 2) if task.convolves(told(run)) else x.flatten(1)
        seen.append(plain_torch.step(net, optimiser, images, y).item())
    assert seen == pytest.approx(losses, abs=1e-5)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of one spawned process for JAX, which warns of every fork after its import."""
    if not importlib.util.find_spec("jax"):
        pytest.skip("jax is not installed")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("settings", KINDS)
def test_jax_has_the_losses_of_the_same_run(settings: dict[str, Any], elsewhere: ProcessPoolExecutor) -> None:
    run, losses, batches, first = ours(tuple(settings.items()))
    arrays = [{name: value.numpy() for name, value in mine.items()} for mine in modules(first)]
    seen = elsewhere.submit(jax_losses, told(run), arrays, [batch.numpy() for batch in batches]).result()
    assert seen == pytest.approx(losses, abs=1e-5)


def jax_losses(run: task.Run, arrays: list[dict[str, Array]], batches: list[Array]) -> list[float]:
    """Return JAX's losses on these mini-batches, starting from bnbench's initial weights (layer by layer, by name)."""
    import jax
    from benchmarks.peers import jax_net

    state, mine = jax_net.start(run), iter(arrays)
    for params in state["params"]:
        for name in params:
            if name in ("weight", "gamma"):  # first array of a bnbench layer, which also holds bias or beta
                layer = next(mine)
            value = layer[name]
            value = np.moveaxis(value, 0, -1) if value.ndim == 4 else value
            params[name] = value.reshape(params[name].shape)
    step = jax.jit(functools.partial(jax_net.step, run))
    seen = []
    for x, y in zip(batches[::2], batches[1::2], strict=True):
        state, loss = step(state, x if task.convolves(run) else x.reshape(len(x), -1), y)
        seen.append(float(loss))
    return seen


def torch_weights(run: task.Run) -> list[Array]:
    """Return plain PyTorch's initial weights, including those of norms."""
    torch.manual_seed(0)
    return [parameter.detach().numpy() for parameter in plain_torch.build(run).parameters()]


def jax_weights(run: task.Run) -> list[Array]:
    """Return JAX's initial weights, including those of norms."""
    from benchmarks.peers import jax_net

    return [np.asarray(array) for params in jax_net.start(run)["params"] for array in params.values()]


@pytest.mark.parametrize("settings", KINDS)
def test_plain_torch_begins_as_we_do(settings: dict[str, Any]) -> None:
    run = little.run(**settings)
    begin_alike(run, torch_weights(told(run)))


@pytest.mark.parametrize("settings", KINDS)
def test_jax_begins_as_we_do(settings: dict[str, Any], elsewhere: ProcessPoolExecutor) -> None:
    run = little.run(**settings)
    begin_alike(run, elsewhere.submit(jax_weights, told(run)).result())


def begin_alike(run: Run, arrays: list[Array]) -> None:
    """Check that a peer's initial weights match bnbench's in number and standard deviation."""
    network = Network(run, SHAPE)
    assert sum(array.size for array in arrays) == network.parameters
    drawn = [array for array in arrays if array.ndim > 1]
    own = [layer for layer in network.layers if "weight" in layer.weights]
    for array, layer in zip(drawn, own, strict=True):
        first = layer.start("weight", 0)
        assert isinstance(first, Tensor)
        few = 5 / np.sqrt(2 * array.size)  # five standard errors of a standard deviation, relative
        assert array.std() == pytest.approx(float(layer.std), rel=few)  # type: ignore[attr-defined]
        assert float(first.std()) == pytest.approx(float(array.std()), rel=2 * few)
        assert abs(array.mean()) < 5 * array.std() / np.sqrt(array.size)
