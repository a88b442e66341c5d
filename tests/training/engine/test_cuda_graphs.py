"""A training step in arrays at fixed addresses, as for CUDA graphs: call by call on a CPU, the plain step's bits."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bnbench.data.prepared import Prepared
from bnbench.params.run_schema import Run
from bnbench.training import train
from bnbench.training.arithmetic import convolutions
from bnbench.training.engine import cuda_graphs
from bnbench.training.engine.choose import Engine, choose
from bnbench.training.engine.cuda_graphs import GraphSteps
from bnbench.training.engine.step import train_step
from bnbench.training.pack.pack import Images, Outcome, Pack
from bnbench.training.train import start
from tests.data.test_augment import attached, definition
from tests.support.little import digits, run, trained
from tests.training.test_train import PLATEAU

EXTRAS = {"dropout": 0.3, "weight_decay": 1e-4, "schedule": PLATEAU, "patience": 2, "diverged_above": 20.0}
COMMON: dict[str, Any] = {"train_images": 150, "evaluate_every": 7, "epochs": 3, "keep_weights": "best"}
NETS: list[dict[str, Any]] = [
    {"model": "64-33-7-10", "norm": "batch", "optimizer": "adam", "batch_size": 9},
    {"model": "64-33-7-10", "norm": "none", "optimizer": "sgd", "batch_size": 7, "probes": ["gradients"]},
    {"model": "64-33-7-10", "norm": "renorm", "batch_size": 15, "renorm_rmax_ramp": [0, 1], "renorm_dmax_ramp": [1, 1]},
    {"model": "5C3-P2-7C3-Dropout0.5-13D-10D", "norm": "ghost", "norm_parts": 3, "optimizer": "adam", "batch_size": 15},
    {"model": "4K-1C2B-8D-10D", "norm": "group", "norm_groups": 2, "activation": "prelu", "batch_size": 15},
]


pytestmark = pytest.mark.usefixtures("by_torch")


def _runs(settings: dict[str, Any], seeds: int = 2) -> list[Run]:
    rates = (0.01, 0.1, 50.0)
    return [run(**{**COMMON, **EXTRAS, **settings, "seed": s, "learning_rate": r}) for s in range(seeds) for r in rates]


class InPlace(GraphSteps):
    """CUDA-graph steps, but executed call by call; `seen` collects their numbers."""

    def __init__(self, seen: list[int]) -> None:
        super().__init__()
        self.seen = seen

    def step(self, pack: Pack) -> None:
        graph = self.prepared(pack)
        if graph is None:
            train_step(pack)
            return
        self.seen.append(pack.step)
        graph.feed(pack)
        graph.step(pack)
        pack.step += 1


def _in_place(seen: list[int]) -> Callable[[Pack], Engine]:
    def chosen(pack: Pack) -> Engine:
        pack.bind()
        return Engine(InPlace(seen), "")

    return chosen


def _both(
    monkeypatch: pytest.MonkeyPatch, runs: list[Run], data: Prepared | None = None
) -> tuple[list[Outcome], list[Outcome], list[int]]:
    """Return outcomes of plain training, and of steps in arrays at fixed addresses, with the numbers of those steps."""
    seen: list[int] = []
    plain = trained(runs, data)
    monkeypatch.setattr(train, "choose", _in_place(seen))
    return plain, trained(runs, data), seen


@pytest.mark.parametrize("settings", NETS, ids=lambda settings: f"{settings['model']} {settings['norm']}")
def test_a_step_in_arrays_that_stay_has_the_plain_steps_bits(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, stayed, seen = _both(monkeypatch, _runs(settings))
    assert [repr((o.result, o.history, o.probed)) for o in plain] == [
        repr((o.result, o.history, o.probed)) for o in stayed
    ]
    assert len({o.result["steps"] for o in plain}) > 1  # some runs left the pack before its end
    assert len(seen) > 10


def test_moves_of_each_epoch_and_a_single_seed_are_fed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    data = attached(digits(), definition(copies="online"))
    plain, stayed, seen = _both(monkeypatch, _runs({"model": "64-20-10", "batch_size": 15}, seeds=1), data)
    assert [o.history for o in plain] == [o.history for o in stayed]
    assert len(seen) > 10


class Elsewhere(TorchDispatchMode):
    """Mode that refuses operations that touch an array of the host or read a value back."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        arrays = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
        assert {array.device.type for array in arrays} <= {"meta"}, f"{func} waits for the host"
        return out


@pytest.mark.parametrize("form", list(convolutions.FORMS))
@pytest.mark.parametrize("settings", NETS, ids=lambda settings: f"{settings['model']} {settings['norm']}")
def test_a_step_waits_for_nothing_from_the_host(
    settings: dict[str, Any], form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the meta device, without values or kernels, every operation still checks its arrays."""
    monkeypatch.setattr(convolutions, "FORMS", dict.fromkeys(convolutions.FORMS, convolutions.FORMS[form]))
    data = attached(digits(), definition(copies="online"))
    pack = start(["a", "b"], _runs({**settings, "train_images": 60, "probes": []})[2:4], data)
    pack.arrays = {name: array.to("meta") for name, array in pack.arrays.items()}
    parts = {name: (part.x, part.labels, part.target) for name, part in pack.data.items()}
    pack.data = {name: Images(*(array.to("meta") for array in part)) for name, part in parts.items()}
    pack.bind()
    train_step(pack)
    pack.step = pack.epoch_steps + 1
    recorded = GraphSteps().prepared(pack)
    assert recorded
    recorded.feed(pack)
    cuda_graphs._forget(pack)
    with Elsewhere():  # type: ignore[no-untyped-call]
        recorded.step(pack)


def _pack(**settings: Any) -> Pack:
    return start(["0" * 16], [run(**{"model": "64-20-10", **settings})], digits())


def test_steps_that_differ_in_more_than_their_arrays_are_not_recorded() -> None:
    assert cuda_graphs.capturable(_pack(norm="batch", population="batch", probes=["neurons"]))
    assert not cuda_graphs.capturable(_pack(norm="batch", population="last_epoch"))
    assert not cuda_graphs.capturable(_pack(norm="batch", backend="numpy"))
    renorm = _pack(norm="renorm", renorm_rmax_ramp=[0, 1], renorm_dmax_ramp=[0.5, 2])
    watched = _pack(probes=["gradients"])
    for pack, steps_, expected in (
        (renorm, (0, renorm.epoch_steps, 2 * renorm.epoch_steps - 1, 2 * renorm.epoch_steps), (0, 0, 0, 1)),
        (watched, (8, 9, 10, 19), (1, 0, 1, 0)),  # the probe records the 10th step and the 20th
    ):
        for pack.step, can in zip(steps_, expected, strict=True):
            assert cuda_graphs.capturable(pack) == bool(can)


def test_a_pack_that_lost_a_run_is_recorded_anew_and_a_cpu_never() -> None:
    pack = start(["a", "b"], [run(model="64-20-10", seed=seed) for seed in (0, 1)], digits())
    pack.bind()
    steps = GraphSteps()
    first = steps.prepared(pack)
    assert first is steps.prepared(pack)
    pack.keep([1])
    second = steps.prepared(pack)
    assert first
    assert second
    assert second is not first
    assert second.fits(pack)
    assert not first.fits(pack)
    assert not isinstance(choose(pack).steps, GraphSteps)
