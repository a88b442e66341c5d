"""Recorded steps, packs and forms of convolution on a GPU, if there is one: the same numbers within tolerance.

The tolerance is the one of docs/speed.md: for a run's weights after some steps, the L2 norm of the difference relative
to the L2 norm of their change.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bnbench.core import files
from bnbench.data import random_streams
from bnbench.params.run_schema import Run
from bnbench.training import worker
from bnbench.training.arithmetic import convolutions, gpu, kernels
from bnbench.training.arithmetic.convolutions import FORMS
from bnbench.training.engine.choose import choose
from bnbench.training.engine.cuda_graphs import GraphSteps
from bnbench.training.engine.step import train_step
from bnbench.training.pack.pack import Outcome, Pack
from bnbench.training.train import start, train
from tests.support.little import digits, run, trained
from tests.training.engine.test_cuda_graphs import EXTRAS, NETS
from tests.training.test_job import _job, prepared

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
__all__ = ["prepared"]

DEVICE, STEPS = "cuda:0", 12
TOLERANCE, LOSSES = {"exact": 1e-4, "fast": 0.3}, {"exact": 1e-4, "fast": 0.05}
NET: dict[str, Any] = {"model": "16K-2C2B-32D-Dropout0.5-10D", "activation": "leaky_relu", "norm": "batch"}


@pytest.fixture(autouse=True)
def _caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(convolutions, "CHOSEN", {})
    monkeypatch.setattr(gpu, "lacking", {})
    yield
    torch.cuda.empty_cache()


def _pack(runs: list[Run], device: str = DEVICE) -> Pack:
    pack = start([str(i) for i in range(len(runs))], runs, digits(), device)
    pack.bind()
    return pack


def _moved(pack: Pack, by: Any, steps: int = STEPS) -> Tensor:
    """Return the change of each run's weights after some steps, (runs, row)."""
    first = pack.arrays["values"].clone()
    for _ in range(steps):
        by(pack)
    return (pack.arrays["values"] - first).double().cpu()


def _trained(pack: Pack) -> Tensor:
    """Return the change of each run's weights after some steps of the pack's engine, (runs, row)."""
    return _moved(pack, choose(pack).step)


def _agree(one: Tensor, other: Tensor, precision: str) -> None:
    apart = (one - other).norm(dim=1) / other.norm(dim=1)
    assert bool(torch.isfinite(apart).all())
    assert float(apart.max()) < TOLERANCE[precision], apart


@pytest.mark.parametrize("precision", list(TOLERANCE))
@pytest.mark.parametrize("settings", [*NETS, NET], ids=lambda settings: f"{settings['model']} {settings['norm']}")
def test_a_replayed_step_is_the_plain_step(settings: dict[str, Any], precision: str) -> None:
    settled = {"learning_rate": 1e-3, "precision": precision, "probes": []}
    settled |= {"renorm_rmax_ramp": [0, 0], "renorm_dmax_ramp": [0, 0]}
    runs = [run(**{**EXTRAS, **settings, **settled, "seed": i}) for i in range(3)]
    plain, replayed = _pack(runs), _pack(runs)
    engine = choose(replayed)
    _agree(_moved(replayed, engine.step), _moved(plain, train_step), precision)
    assert isinstance(engine.steps, GraphSteps)
    assert engine.steps.replays, kernels.lacking
    for name in ("losses", "correct", "epoch_loss"):
        ends = [pack.arrays[name].double().cpu() for pack in (replayed, plain)]
        torch.testing.assert_close(*ends, rtol=LOSSES[precision], atol=2.0 if name == "correct" else 1e-5)


@pytest.mark.parametrize("precision", list(TOLERANCE))
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_run_is_the_same_in_a_pack_as_alone_and_as_on_a_cpu(optimizer: str, precision: str) -> None:
    runs = [run(**NET, optimizer=optimizer, learning_rate=1e-3, seed=i, precision=precision) for i in range(4)]
    packed = _trained(_pack(runs))
    for each, row in zip(runs, packed, strict=True):
        _agree(_trained(_pack([each])), row[None], precision)
    _agree(packed, _trained(_pack(runs, "cpu")), precision)


def test_a_whole_training_on_a_gpu_ends_as_on_a_cpu() -> None:
    runs = [run(**NET, learning_rate=rate, epochs=3, patience=2, keep_weights="best") for rate in (0.01, 0.1, 1e9)]
    pack = _pack(runs)
    outcomes: list[Outcome] = []
    train(pack, lambda _pack: None, outcomes.append)
    ends = {outcome.name: outcome.result for outcome in outcomes}
    for name, expected in zip("012", trained(runs), strict=True):
        assert ends[name]["status"] == expected.result["status"]
        if expected.result["status"] == "ok":
            assert ends[name]["test_accuracy"] == pytest.approx(expected.result["test_accuracy"], abs=0.05)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("runs", [1, 5, 12])
def test_forms_of_convolution_agree_in_graphs_too(runs: int, kind: torch.dtype) -> None:
    gpu.ready(DEVICE)
    dice = torch.Generator().manual_seed(0)
    x, weight = torch.randn(runs, 4, 8, 8, 16, generator=dice), torch.randn(runs, 24, 3, 3, 16, generator=dice)
    dy = torch.randn(runs, 4, 8, 8, 24, generator=dice)
    expected, kept = FORMS["looped"].forward(x, weight)
    dweight = torch.empty_like(weight)
    dx = FORMS["looped"].backward(dy, kept, weight, dweight, True)
    given = [array.to(DEVICE, kind) for array in (x, weight, dy)]
    for name, form in FORMS.items():
        ends: list[Tensor] = []

        def work(form: convolutions.Form = form, ends: list[Tensor] = ends) -> None:
            y, kept = form.forward(given[0], given[1])
            grads = torch.empty_like(given[1], dtype=torch.float32)
            ends[:] = y, form.backward(given[2], kept, given[1], grads, True), grads

        graph = gpu.warmed(work, gpu.stream(torch.device(DEVICE), "test"), 2)
        for end in ends:
            end.fill_(torch.nan)
        graph.replay()
        for end, truth in zip(ends, (expected, dx, dweight), strict=True):
            apart = float((end.double().cpu() - truth.double()).norm() / truth.double().norm())
            assert apart < (1e-5 if kind == torch.float32 else 2e-2), (name, apart)
    assert convolutions.fastest(given[0], given[1]) in FORMS


def test_norms_are_compiled_and_give_torchs_numbers() -> None:
    gpu.ready(DEVICE)
    assert type(kernels.on_gpu.__wrapped__()).__name__ == "Fused", kernels.lacking


def test_dropouts_numbers_are_the_cpus_bit_for_bit() -> None:
    drawn = random_streams.dropout([3, 2**40 + 7], 2, range(5, 8), 3000, torch.device(DEVICE)).cpu()
    for (i, step), (j, seed) in itertools.product(enumerate(range(5, 8)), enumerate([3, 2**40 + 7])):
        assert torch.equal(drawn[i, j], random_streams.uniform(seed, "dropout", (2, step), (3000,)))


def test_work_that_waits_for_the_gpu_is_not_recorded_and_training_goes_on() -> None:
    gpu.ready(DEVICE)
    ones, here = torch.ones(3, device=DEVICE), torch.cuda.current_stream()
    with pytest.raises(gpu.Unrecorded):
        gpu.record(lambda: print(ones.sum().item()), gpu.stream(torch.device(DEVICE), "test"))
    assert torch.cuda.current_stream() == here
    assert float(ones.sum()) == 3


def test_no_memory_while_recording_is_told_as_such() -> None:
    gpu.ready(DEVICE)
    much, on = torch.cuda.get_device_properties(DEVICE).total_memory, gpu.stream(torch.device(DEVICE), "test")
    with pytest.raises(torch.OutOfMemoryError):
        gpu.record(lambda: torch.empty(2 * much, dtype=torch.uint8, device=DEVICE), on)
    assert float(torch.ones(3, device=DEVICE).sum()) == 3


def test_a_gpu_whose_memory_ends_trains_halves(tmp_path: Path, prepared: Path) -> None:
    settings = [run(model="64-3000-3000-10", batch_size=64, epochs=1, learning_rate=1e-3, seed=i) for i in range(8)]
    job = _job(tmp_path, prepared, settings, width=8)  # 9 M weights, three arrays: 110 MB a run
    place = worker.Workspace(tmp_path / "runs", tmp_path / "timings", tmp_path / "work", (DEVICE,))
    gpu.ready(DEVICE)
    torch.cuda.set_per_process_memory_fraction(0.9e9 / torch.cuda.get_device_properties(DEVICE).total_memory, DEVICE)
    try:
        statuses, engines, splits, lacking = worker.train_pack(files.read_json(job)[0], place)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)
    assert statuses == {"ok": 8}
    assert engines == {"CUDA graphs"}
    assert splits >= 1
    assert not lacking
