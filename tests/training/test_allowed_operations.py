"""Only operations that IEEE 754 fixes decide a result: each call of torch while packs are trained and measured.

Sums, products, elementary functions and random numbers of torch have an order, a polynomial or a generator that no
standard fixes. What remains is elementwise arithmetic, comparisons, copies, and operations on whole numbers.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bnbench.data import augment
from bnbench.data.prepared import Part, Prepared
from bnbench.data.preprocess import PREPROCESSING
from bnbench.params.layers.activations import ACTIVATIONS
from bnbench.params.layers.norms import NORMS
from bnbench.params.run_schema import Population, Schedule
from bnbench.training import train as trainer
from bnbench.training.engine import inference_program, step, step_program
from bnbench.training.nets.layers import INITS
from bnbench.training.nets.network import Network
from bnbench.training.pack import pack as packs
from bnbench.training.pack.optimizers import OPTIMIZERS
from bnbench.training.pack.pack import Outcome
from bnbench.training.probes import PROBES
from tests.data.test_augment import attached, definition
from tests.support.little import digits, run

# operations whose result on floats is fixed, in place (`add_`) or not
ALLOWED = {
    "arithmetic": "abs add div mul neg reciprocal rsub sub",
    "comparisons": "amax amin argmax argmin clamp clamp_min eq ge gt isfinite isnan le lt max maximum min minimum ne "
    "sort where",
    "conversions": "_local_scalar_dense _to_copy",
    "copies": "_unsafe_view alias as_strided cat clone copy detach expand gather index index_put index_select "
    "lift_fresh permute repeat scatter select slice split squeeze stack transpose unbind unsqueeze view",
    "filling": "empty empty_like empty_strided fill full full_like new_empty new_full new_zeros ones ones_like zero "
    "zeros zeros_like",
}
NAMES = set(" ".join(ALLOWED.values()).split())
RANDOM = ("bernoulli", "exponential", "normal", "rand", "uniform")  # beginnings of the names of random operations

# parts that still call torch's products, sums, functions and generators: each entry goes with its replacement
NOT_YET: list[tuple[Any, str]] = [
    (Network, "start"),
    (Network, "forward"),
    (Network, "backward"),
    (trainer, "choose"),
    (step_program, "StepProgram"),
    (inference_program, "compiled"),
    (step, "cross_entropy"),
    (packs, "order"),
    (augment, "online"),
    (augment, "transform"),
    *((OPTIMIZERS, name) for name in OPTIMIZERS),
    *((PREPROCESSING, name) for name in PREPROCESSING),
]


def _fixed(operation: torch._ops.OpOverload, values: list[Any], kwargs: dict[str, Any]) -> bool:
    """Return whether a call's result is fixed by IEEE 754, given its arguments and results."""
    name = operation.overloadpacket.__name__.rstrip("_")
    if name.startswith(RANDOM):
        return False
    if not any(isinstance(value, Tensor) and value.is_floating_point() for value in values):
        return True  # whole numbers
    return name in NAMES and kwargs.get("alpha", 1) == 1  # a + alpha b may be fused


class Recorded(TorchDispatchMode):
    """The calls of torch whose result is not fixed, but for those within excused functions."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.open: set[str] = set()
        self.calls, self.excused = 0, 0

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        self.calls += not self.excused
        if not self.excused and not _fixed(func, tree_leaves((args, kwargs, found)), kwargs):
            self.open.add(str(func))
        return found

    def excuse(self, function: Any) -> Any:
        """Return a function within which, and within a function that it returns, nothing is recorded."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            self.excused += 1
            try:
                found = function(*args, **kwargs)
            finally:
                self.excused -= 1
            return self.excuse(found) if callable(found) and not isinstance(found, Tensor) else found

        return call


@contextmanager
def _recorded() -> Iterator[Recorded]:
    mode = Recorded()
    with pytest.MonkeyPatch.context() as patch, mode:
        for owner, name in NOT_YET:
            if isinstance(owner, dict):
                function = owner[name]
                kept = (
                    (mode.excuse(function[0]), *function[1:]) if isinstance(function, tuple) else mode.excuse(function)
                )
                patch.setitem(owner, name, kept)
            else:
                patch.setattr(owner, name, mode.excuse(getattr(owner, name)))
        yield mode


def _few(part: Part, count: int) -> Part:
    return Part(part.images[:count], part.labels[:count])


def _data() -> Prepared:
    """Return a few digits, in parts of odd sizes."""
    whole = digits()
    train, valid = _few(whole.train, 67), _few(whole.valid, 13)
    return replace(whole, train=train, valid=valid, test=_few(whole.test, 11), official=_few(whole.test, 7))


NETS = {
    "dense": "64-9-7-10",
    "conv, pool": "4C3-P2-6C3-P2-9D-10D",
    "dropout": "4C3-Dropout0.2-6C3-9D-Dropout0.5-10D",
    "LRN": "4C3-LRN-P2-6C3-LRN-9D-10D",
}
SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {"kind": "constant"},
    "step": {"kind": "step", "from_epoch": [2], "factor": [0.3]},
    "plateau": {"kind": "plateau", "factor": 0.7, "window": 1},
}
# setting -> its values, from the tables where there is one: a new entry is tested without a change here
VARIED: dict[str, list[Any]] = {
    "model": list(NETS.values()),
    "norm": list(NORMS),
    "activation": list(ACTIVATIONS),
    "optimizer": list(OPTIMIZERS),
    "population": list(get_args(Population)),
    "preprocessing": list(PREPROCESSING),
    "init": list(INITS),
    "schedule": list(SCHEDULES.values()),
    "probes": [[name] for name in PROBES],
    "loss": ["sum"],
    "order": ["post"],
    "keep_weights": ["best"],
    "evaluate_test": [True],
    "weight_decay": [0.01],
    "dropout": [0.3],
    "patience": [1],
    "diverged_above": [0.9],
}
BASE: dict[str, Any] = {
    "norm": "batch",
    "batch_size": 6,
    "epochs": 2,
    "norm_groups": 1,
    "norm_parts": 2,
}
CASES = [
    {**BASE, "model": net, name: value}
    for net in (NETS["dense"], NETS["conv, pool"])
    for name, values in VARIED.items()
    for value in values
    if (net, value) != (NETS["conv, pool"], ["hyperplanes"])  # those of a dense first layer
]


def _named(case: dict[str, Any]) -> str:
    return " ".join(str(value) for name, value in case.items() if BASE.get(name) != value)


def _open(case: dict[str, Any], data: Prepared) -> set[str]:
    """Return the calls, in the training of a pack of two runs, whose result is not fixed."""
    runs = [run(**{"learning_rate": 0.05, **case, "seed": seed}) for seed in (0, 1)]
    outcomes: list[Outcome] = []
    with _recorded() as mode:
        trainer.train(trainer.start(["0" * 16, "1" * 16], runs, data), lambda _pack: None, outcomes.append)
    assert len(outcomes) == 2
    assert mode.calls > 100
    return mode.open


@pytest.mark.parametrize("case", CASES, ids=_named)
def test_a_training_calls_only_operations_whose_result_is_fixed(case: dict[str, Any]) -> None:
    assert _open(case, _data()) == set()


def test_a_training_with_online_augmentation_calls_only_operations_whose_result_is_fixed() -> None:
    data = attached(_data(), definition(copies="online"))
    assert _open({**BASE, "model": NETS["conv, pool"]}, data) == set()


def test_each_kind_of_schedule_is_tried() -> None:
    kinds = get_args(get_args(Schedule)[0])
    assert list(SCHEDULES) == [get_args(kind.model_fields["kind"].annotation)[0] for kind in kinds]


def test_an_operation_whose_result_is_not_fixed_is_noticed() -> None:
    x, whole = torch.ones(3, 3), torch.arange(3)
    with Recorded() as mode:
        fixed = [x + x, x * 2, x / whole, x.amax(1), x.T.contiguous(), x > 1, whole.sum(), x.double(), x[whole]]
    assert mode.calls >= len(fixed)
    assert mode.open == set()
    with Recorded() as mode:
        _ = [x @ x, x.sum(), x.mean(0), x.exp(), x.sqrt(), torch.add(x, x, alpha=2), x**2, torch.randperm(3)]
        _ = [x.cumsum(0), x.std(), x.norm(), x.softmax(1), torch.rand(3), torch.addcmul(x, x, x), torch.lerp(x, x, 0.5)]
    names = "mm sum mean exp sqrt add pow randperm cumsum std linalg_vector_norm _softmax rand addcmul lerp"
    assert {name.split(".")[1] for name in mode.open} == set(names.split())
