"""Where torch's operations train on a CPU, every matrix product is of one run alone."""

from collections.abc import Sequence
from typing import Any

import pytest
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bnbench.params.run_schema import Run
from bnbench.training.pack import pack as packs
from bnbench.training.pack.pack import Pack
from bnbench.training.train import start
from tests.support.little import digits, run, trained
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


@pytest.mark.usefixtures("by_torch")
@pytest.mark.parametrize("settings", [*EXACT, *ONE_IMAGE], ids=lambda s: f"{s['model']} {s['norm']} {s['batch_size']}")
def test_a_packs_products_are_those_of_each_run_alone(settings: dict[str, Any]) -> None:
    settings = settings | {"diverged_above": 1e9}
    alone = _of_training(settings, [0])
    assert alone
    for seeds in ([0] * 9, [0, 1, 2] * 3):
        together = _of_training(settings, seeds)
        assert not [made for made in together if made[0] in ("bmm", "baddbmm", "addbmm") and made[1][0][0] > 1]
        assert together == [made for made in alone for _ in seeds]


@pytest.mark.parametrize("settings", ONE_IMAGE, ids=lambda s: f"{s['model']} {s['norm']}")
def test_one_image_left_in_the_last_chunk_is_evaluated_in_a_pack_as_alone(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = {"batch_size": 9} if settings["norm"] != "batch" else {}
    runs = _runs(settings | size, [0, 1, 2, 0, 1])
    monkeypatch.setattr(packs, "CHUNK", (len(digits().valid.labels) - 1) * _pack(settings, [0]).network.widest)
    assert [_bits(one) for one in trained(runs)] == [_bits(trained([one])[0]) for one in runs]
