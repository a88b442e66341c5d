"""The recorded step of dense nets: PyTorch's numbers, bit for bit; steps that are not recorded train as before."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bnbench.params.run_schema import Run
from bnbench.training import checkpoints
from bnbench.training.arithmetic import calls, kernels, matmul, products, torch_loops
from bnbench.training.engine import program, step_program
from bnbench.training.engine.choose import choose
from bnbench.training.engine.layer_programs import agree
from bnbench.training.engine.step import Operations, train_step
from bnbench.training.engine.step_program import CompiledSteps, StepProgram
from bnbench.training.pack.pack import Outcome, Pack
from bnbench.training.train import start, train
from tests.support.little import digits, run, trained

SGD = {"optimizer": "sgd", "momentum": 0.0}
MOMENTUM = {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.01}
ADAM = {"optimizer": "adam", "learning_rate": 0.002}
# widths and batches of complete and partial vectors, products that torch computes by loops, each layer and update
RECORDED: dict[str, dict[str, Any]] = {
    "sigmoid": {"model": "64-100-100-10", "norm": "batch", "activation": "sigmoid", "batch_size": 60, **SGD},
    "odd": {"model": "64-33-5-10", "norm": "batch", "activation": "tanh", "batch_size": 7, **MOMENTUM},
    "small products": {"model": "64-16-12-10", "norm": "none", "activation": "relu", "batch_size": 2, **ADAM},
    "after": {"model": "64-50-10", "norm": "batch", "order": "post", "activation": "relu", "batch_size": 16, **ADAM},
    "fixed": {"model": "64-20-10", "norm": "batch", "norm_gamma": 2.0, "norm_beta": 0.5, "batch_size": 32, **SGD},
    "leaky": {"model": "64-30-20-10", "norm": "none", "activation": "leaky_relu", "batch_size": 5, **MOMENTUM},
    "sum": {"model": "64-40-10", "norm": "batch", "activation": "sigmoid", "loss": "sum", "batch_size": 3, **SGD},
    "many blocks": {"model": "64-300-10", "norm": "batch", "activation": "relu", "batch_size": 16, **ADAM},
    "schedule": {"model": "64-20-10", "schedule": {"kind": "step", "from_epoch": [2], "factor": [0.1]}, **MOMENTUM},
}
# settings that only PyTorch's operations support
OTHERS: dict[str, dict[str, Any]] = {
    "dropout": {"model": "64-20-10", "dropout": 0.5},
    "a norm of images": {"model": "64-20-10", "norm": "layer"},
    "another norm of batches": {"model": "64-20-10", "norm": "renorm"},
    "a population of an epoch": {"model": "64-20-10", "norm": "batch", "population": "last_epoch"},
    "a look into a step": {"model": "64-20-10", "probes": ["gradients"]},
    "one channel": {"model": "64-1-10", "norm": "none"},
    "NumPy": {"model": "64-20-10", "backend": "numpy"},
}


@pytest.fixture(autouse=True)
def _compiled() -> None:
    made, lacking = kernels.compiled()
    if made is torch_loops.REFERENCE:
        pytest.skip(lacking)


def _grid(settings: dict[str, Any]) -> list[Run]:
    rate = settings.get("learning_rate", 0.05)
    return [run(**{"epochs": 2} | settings | {"learning_rate": rate * (i + 1), "seed": i % 2}) for i in range(3)]


def _pack(settings: dict[str, Any]) -> Pack:
    runs = _grid(settings)
    pack = start([f"{i:016x}" for i in range(len(runs))], runs, digits())
    pack.bind()
    return pack


def _same(a: Pack, b: Pack) -> bool:
    return all(agree(a.run, a.arrays[name], b.arrays[name]) for name in a.arrays if name != "grads")


def _outcomes(outcomes: list[Outcome]) -> list[tuple[Any, ...]]:
    return [(one.result, one.history, {k: v.numpy().tobytes() for k, v in one.weights.items()}) for one in outcomes]


@pytest.mark.parametrize("settings", RECORDED.values(), ids=RECORDED)
def test_a_recorded_step_is_torchs_bit_for_bit(settings: dict[str, Any]) -> None:
    recorded, plain = _pack(settings), _pack(settings)
    assert step_program.recordable(recorded)
    made = StepProgram(recorded)
    while recorded.step < min(60, recorded.epoch_steps):
        made.advance(recorded)
    plain.bind()
    while plain.step < recorded.step:
        train_step(plain)
    assert _same(recorded, plain)


@pytest.mark.parametrize("settings", RECORDED.values(), ids=RECORDED)
def test_a_run_ends_alike_recorded_or_not_and_in_a_pack_or_alone(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = _grid(settings | {"keep_weights": "best", "save_weights": True})
    recorded = _outcomes(trained(runs))
    assert [_outcomes(trained([one]))[0] for one in runs] == recorded
    monkeypatch.setattr(step_program, "recordable", lambda _pack: False)
    assert _outcomes(trained(runs)) == recorded
    assert [_outcomes(trained([one]))[0] for one in runs] == recorded


@pytest.mark.parametrize("settings", OTHERS.values(), ids=OTHERS)
def test_a_step_that_is_not_compiled_trains_by_single_operations(settings: dict[str, Any]) -> None:
    pack = _pack(settings)
    assert not step_program.recordable(pack)
    engine = choose(pack)
    engine.step(pack)
    assert pack.step == 1
    assert isinstance(engine.steps, Operations)


def test_runs_that_diverge_or_stop_leave_the_others_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = run(model="64-20-10", norm="none", epochs=6, patience=1, evaluate_every=9)
    runs = [settings.model_copy(update={"learning_rate": rate}) for rate in (0.001, 0.1, 1e9, 3.0)]
    recorded = trained(runs)
    assert {one.result["status"] for one in recorded} == {"ok", "diverged"}
    assert len({one.result["steps"] for one in recorded}) > 2
    monkeypatch.setattr(step_program, "recordable", lambda _pack: False)
    assert _outcomes(trained(runs)) == _outcomes(recorded)


def test_a_run_goes_on_from_a_checkpoint_between_two_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_program, "BATCHES_BYTES", 2**16)
    runs = _grid(RECORDED["sigmoid"] | {"model": "64-20-10", "batch_size": 16})
    whole = _outcomes(trained(runs))
    pack = start([f"{i:016x}" for i in range(len(runs))], runs, digits())
    choose(pack).step(pack)
    assert 1 < pack.step < pack.interval
    checkpoints.save(tmp_path, pack)
    resumed: list[Outcome] = []
    for name, one in zip(pack.names, runs, strict=True):
        alone = start([name], [one], digits())
        state = checkpoints.load(tmp_path, name)
        assert state is not None
        checkpoints.restore(alone, [state])
        train(alone, lambda _pack: None, resumed.append)
    assert _outcomes(resumed) == whole


def test_a_compiled_step_whose_numbers_differ_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = _outcomes(trained(_grid(RECORDED["odd"])))
    monkeypatch.setattr(kernels, "lacking", {})
    monkeypatch.setattr(products, "LOOPED", 10**9)  # products by plain loops: another order of summation
    pack = _pack(RECORDED["odd"])
    assert isinstance(choose(pack).steps, Operations)
    expected_lack = {
        f"compiled {what} of 64-33-5-10": "their numbers are not torch's" for what in ("steps", "predictions")
    }
    assert kernels.lacking == expected_lack
    assert _outcomes(trained(_grid(RECORDED["odd"]))) == expected


def test_without_torchs_own_functions_nothing_is_recorded_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "LIBRARY", ("no_such_function",))
    caches = (calls.shared_library, calls.functions_lacking)
    for cached in caches:
        cached.cache_clear()
    try:
        assert "no_such_function" in calls.lacking()
        assert not step_program.recordable(_pack(RECORDED["odd"]))
    finally:
        for cached in caches:
            cached.cache_clear()


def test_a_block_ends_with_its_interval_and_its_epoch() -> None:
    pack = _pack(RECORDED["sigmoid"] | {"evaluate_every": 7, "batch_size": 100, "epochs": 3})
    ends, engine = [], choose(pack)
    assert isinstance(engine.steps, CompiledSteps)
    while pack.step < pack.steps:
        engine.step(pack)
        ends.append(pack.step)
    assert pack.epoch_steps % 7
    assert {*range(7, pack.steps, 7), *range(pack.epoch_steps, pack.steps, pack.epoch_steps)} <= set(ends)
    assert torch.isfinite(pack.arrays["epoch_loss"]).all()


FAST = {"model": "64-200-130-10", "norm": "batch", "batch_size": 70, "precision": "fast"}


@pytest.fixture
def _rounds() -> None:
    if not (matmul.bf16("cpu") and calls.has("rounded_product")):
        pytest.skip("this processor multiplies no bf16")


@pytest.mark.usefixtures("_rounds")
@pytest.mark.parametrize(("rows", "inner", "columns"), [(60, 784, 100), (7, 33, 5), (13, 1, 65), (6, 50, 128)])
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True)])
def test_a_rounded_product_is_that_of_factors_in_bf16(
    rows: int, inner: int, columns: int, transposed: tuple[bool, bool]
) -> None:
    dice = torch.Generator().manual_seed(0)
    a, b = torch.randn(rows, inner, generator=dice), torch.randn(inner, columns, generator=dice)
    given = [x.t().contiguous() if turn else x for x, turn in zip((a, b), transposed, strict=True)]
    notes = program.Program(_pack(FAST).network, run(), rows, {}, {})
    notes.rounded = True
    start_of_c, c = torch.randn(2, rows, columns, generator=dice)
    c.copy_(start_of_c)
    notes.product(given[0], given[1], c, transposed, add=True)
    calls.replay(notes.calls)
    expected = start_of_c + a.bfloat16().double() @ b.bfloat16().double()
    assert torch.allclose(c.double(), expected, rtol=0, atol=1e-5 * inner**0.5 + 1e-6)


@pytest.mark.usefixtures("_rounds")
def test_a_fast_run_is_the_same_in_a_pack_and_alone_and_near_the_exact_one() -> None:
    runs = _grid(FAST | ADAM)
    fast = trained(runs)
    assert [_outcomes(trained([one]))[0] for one in runs] == _outcomes(fast)
    exact = trained([one.model_copy(update={"precision": "exact"}) for one in runs])
    assert _outcomes(fast) != _outcomes(exact)
    for one, other in zip(fast, exact, strict=True):
        assert one.result["train_loss"] == pytest.approx(other.result["train_loss"], rel=0.05)
