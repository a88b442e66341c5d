"""On a CPU every matrix product is of one run, so no library's choice of a routine depends on the number of runs."""

from collections.abc import Sequence
from typing import Any

import pytest
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bnbench.params.run_schema import Run
from bnbench.training.arithmetic import calls
from bnbench.training.engine import inference_program, step_program
from bnbench.training.engine.choose import choose
from bnbench.training.engine.inference_program import CompiledPredictions
from bnbench.training.engine.step_program import CompiledSteps
from bnbench.training.pack import pack as packs
from bnbench.training.pack.pack import Pack
from bnbench.training.train import start
from tests.support.little import digits, run, trained
from tests.training.engine.test_step_program import RECORDED
from tests.training.test_train import SHAPES, _bits

NAMES = ("mm", "bmm", "addmm", "baddbmm", "addbmm", "mv", "dot", "convolution", "convolution_backward")
FEW = {"epochs": 1, "train_images": 67, "learning_rate": 0.01, "evaluate_test": True}
EXACT = [shape for shape in SHAPES if shape.get("precision") != "fast" and shape.get("backend") != "numpy"]
ONE_IMAGE: list[dict[str, Any]] = [
    {"model": "64-16-10", "norm": "none", "batch_size": 1},
    {"model": "64-33-7-10", "norm": "layer", "batch_size": 1, "optimizer": "adam"},
    {"model": "3C3-P2-5C3-13D-10D", "norm": "batch", "batch_size": 1, "norm_dense": False},
    {"model": "16C5-P2-16C5-10D", "norm": "none", "batch_size": 1},
]


class Products(TorchDispatchMode):
    """Recorder of each product that torch computes: its name, and sizes and strides of its arrays."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.made: list[tuple[Any, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [*args, *(kwargs or {}).values()]
        if (name := func.overloadpacket.__name__) in NAMES:
            self.made.append((name, *((tuple(a.shape), a.stride()) for a in given if isinstance(a, Tensor))))
        return func(*args, **(kwargs or {}))


def _runs(settings: dict[str, Any], seeds: Sequence[int]) -> list[Run]:
    rates = [0.01 * (i + 1) for i in range(len(seeds))]
    each = zip(seeds, rates, strict=True)
    return [run(**(FEW | settings | {"seed": seed, "learning_rate": rate})) for seed, rate in each]


def _pack(settings: dict[str, Any], seeds: Sequence[int]) -> Pack:
    runs = _runs(settings, seeds)
    pack = start([f"{i:016x}" for i in range(len(runs))], runs, digits())
    pack.bind()
    return pack


def _of_training(settings: dict[str, Any], seeds: Sequence[int]) -> list[tuple[Any, ...]]:
    seen = Products()
    with seen:
        assert {one.result["status"] for one in trained(_runs(settings, seeds))} == {"ok"}
    return seen.made


@pytest.fixture
def _by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable recorded steps, and let the last chunk of the validation images contain a single one."""
    monkeypatch.setattr(step_program, "recordable", lambda _pack: False)
    monkeypatch.setattr(inference_program, "recordable", lambda _pack: False)
    monkeypatch.setattr(Pack, "chunk", len(digits().valid.labels) - 1)


@pytest.mark.usefixtures("_by_torch")
@pytest.mark.parametrize("settings", [*EXACT, *ONE_IMAGE], ids=lambda s: f"{s['model']} {s['norm']} {s['batch_size']}")
def test_a_packs_products_are_those_of_each_run_alone(settings: dict[str, Any]) -> None:
    settings = settings | {"diverged_above": 1e9}
    alone = _of_training(settings, [0])
    assert alone
    for seeds in ([0] * 9, [0, 1, 2] * 3):
        together = _of_training(settings, seeds)
        assert not [made for made in together if made[0] in ("bmm", "baddbmm", "addbmm") and made[1][0][0] > 1]
        assert together == [made for made in alone for _ in seeds]


@pytest.mark.parametrize("settings", RECORDED.values(), ids=RECORDED)
def test_compiled_products_are_those_of_each_run_alone(settings: dict[str, Any]) -> None:
    if calls.lacking():
        pytest.skip(calls.lacking())
    one, many = (step_program.StepProgram(_pack(settings, seeds)).recordings for seeds in ([0], [0, 1, 2] * 3))
    assert len(many) == 9
    (alone,) = [[(call.op, *call.n, *call.f, *call.by) for call in recording] for recording in one]
    assert all([(call.op, *call.n, *call.f, *call.by) for call in recording] == alone for recording in many)


@pytest.mark.parametrize("settings", RECORDED.values(), ids=RECORDED)
def test_the_engine_of_a_pack_does_not_depend_on_its_runs(settings: dict[str, Any]) -> None:
    if calls.lacking():
        pytest.skip(calls.lacking())
    seen = []
    for seeds in ([0], [3, 1, 2] * 3):
        pack = _pack(settings, seeds)
        with Products() as products:
            engine = choose(pack)
        assert products.made
        assert (type(engine.steps), type(engine.predictions)) == (CompiledSteps, CompiledPredictions)
        seen.append(products.made)
    assert seen[0] == seen[1]


def test_an_engine_that_differs_for_some_runs_alone_is_chosen_for_all_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    if calls.lacking():
        pytest.skip(calls.lacking())
    settings, true = RECORDED["odd"], inference_program.compiled

    def differs(pack: Pack, x: Tensor) -> Tensor:
        return true(pack, x) + 1e-6 * (pack.runs[0].seed == 4)

    monkeypatch.setattr(inference_program, "compiled", differs)
    chosen = []
    for seeds in ([4], [4, 5], [5, 4]):
        pack = _pack(settings, seeds)
        chosen.append(type(choose(pack).predictions))
    assert len(set(chosen)) == 1


@pytest.mark.parametrize("settings", ONE_IMAGE, ids=lambda s: f"{s['model']} {s['norm']}")
def test_one_image_left_in_the_last_chunk_is_evaluated_in_a_pack_as_alone(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = {"batch_size": 9} if settings["norm"] != "batch" else {}
    runs = _runs(settings | size, [0, 1, 2, 0, 1])
    monkeypatch.setattr(packs, "CHUNK", (len(digits().valid.labels) - 1) * _pack(settings, [0]).network.widest)
    assert [_bits(one) for one in trained(runs)] == [_bits(trained([one])[0]) for one in runs]


def test_probes_too_ask_for_products_of_one_run_alone() -> None:
    probes = ["gradients", "one_by_one", "population", "dead_units", "hyperplanes"]
    settings = {"model": "64-20-10", "norm": "batch", "batch_size": 20, "probes": probes}
    with Products() as seen:
        trained(_runs(settings, [0, 1, 2]))
    assert not [made for made in seen.made if made[0] in ("bmm", "baddbmm") and made[1][0][0] > 1]
