"""Recorded forward passes outside training: PyTorch's numbers, bit for bit, for the bound weights."""

from typing import Any

import pytest
import torch

from bnbench.params.run_schema import Run
from bnbench.training.arithmetic import calls, kernels
from bnbench.training.engine import inference_program
from bnbench.training.engine.choose import choose
from bnbench.training.engine.inference_program import compiled
from bnbench.training.engine.layer_programs import agree
from bnbench.training.engine.step import Operations, predict
from bnbench.training.pack.pack import Pack
from bnbench.training.train import start
from tests.support.little import digits, run, trained
from tests.training.engine.test_step_program import FAST, RECORDED


@pytest.fixture(autouse=True)
def _compiled() -> None:
    if calls.lacking():
        pytest.skip(calls.lacking())


def _runs(settings: dict[str, Any]) -> list[Run]:
    return [run(**{"epochs": 1} | settings | {"seed": seed}) for seed in range(3)]


def _pack(settings: dict[str, Any]) -> Pack:
    runs = _runs(settings)
    pack = start([f"{i:016x}" for i in range(len(runs))], runs, digits())
    engine = choose(pack)
    for _ in range(3):
        engine.step(pack)
    return pack


@pytest.mark.parametrize(
    "images", [2, 7, inference_program.BLOCK, inference_program.BLOCK + 1, 3 * inference_program.BLOCK + 5]
)
@pytest.mark.parametrize("settings", RECORDED.values(), ids=RECORDED)
def test_a_recorded_pass_is_torchs_bit_for_bit(settings: dict[str, Any], images: int) -> None:
    pack = _pack(settings)
    x = pack.data["train"].x[:images]
    assert agree(pack.run, compiled(pack, x), predict(pack, x))


@pytest.mark.parametrize("kept", ["last", "best"])
def test_a_run_is_measured_alike_by_recorded_passes_and_by_torch(kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = _runs(RECORDED["sigmoid"] | {"keep_weights": kept, "epochs": 3})
    recorded = [(one.result, one.history) for one in trained(runs)]
    monkeypatch.setattr(inference_program, "recordable", lambda _pack: False)
    assert [(one.result, one.history) for one in trained(runs)] == recorded


def test_one_image_alone_passes_by_torch() -> None:
    pack = _pack(RECORDED["odd"])
    x = pack.data["test"].x[:1]
    assert torch.equal(choose(pack).predict(pack, x), predict(pack, x))


def test_what_is_bound_is_what_passes() -> None:
    pack = _pack(RECORDED["odd"])
    x = pack.data["test"].x
    engine = choose(pack)
    before = engine.predict(pack, x)
    others = [torch.zeros_like(array) for array in pack.network.bound]
    pack.network.bind(*others)
    assert torch.equal(engine.predict(pack, x), torch.zeros_like(before))


@pytest.mark.parametrize("settings", [{"population": "batch"}, {"population": "last_epoch"}, {"norm": "renorm"}])
def test_what_no_pass_is_known_of_is_torchs(settings: dict[str, Any]) -> None:
    pack = _pack({"model": "64-20-10", "norm": "batch", "batch_size": 50} | settings)
    assert isinstance(choose(pack).predictions, Operations)


def test_a_pass_whose_numbers_differ_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "lacking", {})
    monkeypatch.setattr(inference_program, "compiled", lambda pack, x: predict(pack, x) + 1e-6)
    pack = _pack(RECORDED["odd"])
    x = pack.data["test"].x
    assert torch.equal(choose(pack).predict(pack, x), predict(pack, x))
    assert kernels.lacking == {"compiled predictions of 64-33-5-10": "their numbers are not torch's"}


def test_a_fast_pass_is_near_torchs() -> None:
    pack = _pack(FAST)
    x = pack.data["train"].x
    torch.testing.assert_close(choose(pack).predict(pack, x), predict(pack, x), rtol=0.05, atol=0.05)
