"""Calls of compiled functions, noted for a run's training step: see `tape`."""

import ctypes
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from bnbench import kernels
from bnbench.network import Network
from bnbench.optimizers import OPTIMIZERS
from bnbench.schema import Run

WIDTH, PART = 8, 2**13  # of tape.c: sizes, constants and arrays of a call, weights at a time
LOOPED = 400  # multiplications below which torch makes a product by loops of its own
# functions of torch's library that the calls use, in tape.c's order
LIBRARY = ("sgemm_", "vmsTanh", "vmsExp", "vmsSqrt", "Sleef_expf8_u10", "Sleef_logf8_u10")


class Call(ctypes.Structure):
    """A call as tape.c reads it."""

    _fields_ = (
        ("op", ctypes.c_void_p),
        ("n", ctypes.c_long * WIDTH),
        ("f", ctypes.c_float * WIDTH),
        ("p", ctypes.c_void_p * WIDTH),
        ("by", ctypes.c_long * WIDTH),
    )


@dataclass(frozen=True)
class EachStep:
    """Arrays of a run of steps, the step in front: a call in step s works on the part `array[s]`."""

    array: Tensor


Array = Tensor | EachStep


class Recorder:
    """The calls of one run's step.

    Args:
        network: whose layers they are.
        run: its settings.
        rows: its row of each of a pack's arrays, and `grads`, `rates` and `corrections` of the steps.
        pool: arrays for work, by size, which other runs use in their turn.
    """

    def __init__(self, network: Network, run: Run, rows: dict[str, Tensor], pool: dict[int, list[Tensor]]) -> None:
        self.run, self.rows, self.pool = run, rows, pool
        self.slots = {(slot.layer, slot.name): slot for slot in (*network.weights, *network.moving)}
        self.rounded = False  # whether the factors of products are
        self.calls: list[Call] = []
        self.held: list[Array] = []
        self.used: Counter[int] = Counter()

    def call(self, op: str, sizes: Sequence[int], arrays: Sequence[Array], constants: Sequence[float] = ()) -> None:
        """Note a call of tape.c's `op_...`."""
        call = Call(op=ctypes.cast(getattr(shared_library(), f"op_{op}"), ctypes.c_void_p))
        call.n[: len(sizes)], call.f[: len(constants)] = list(sizes), list(constants)
        for i, array in enumerate(arrays):
            if isinstance(array, EachStep):
                call.p[i], call.by[i] = array.array.data_ptr(), array.array.stride(0)
            else:
                call.p[i] = array.data_ptr()
        self.calls.append(call)
        self.held += arrays

    def product(
        self, a: Array, b: Tensor, c: Tensor, turned: tuple[bool, bool] = (False, False), add: bool = False
    ) -> None:
        """C = a b, or c + a b, with a or b transposed where it is `turned`."""
        rows = a.array if isinstance(a, EachStep) else a
        inner = rows.shape[-2] if turned[0] else rows.shape[-1]
        sizes = [*turned, *c.shape, inner, rows.stride(-2), b.stride(0), c.stride(0)]
        if self.rounded:
            pairs = [self.empty((inner + 1) // 2, -(-columns // 16) * 16) for columns in (*c.shape, c.shape[1])]
            self.call("rounded_product", sizes, [a, b, c, *pairs], [add])
        else:
            self.call("product", sizes, [a, b, c], [add, inner * c.numel() < LOOPED])

    def empty(self, *shape: int) -> Tensor:
        """An array for work."""
        size = math.prod(shape)
        ready = self.pool.setdefault(size, [])
        if self.used[size] == len(ready):
            ready.append(torch.empty(size))
        self.used[size] += 1
        return ready[self.used[size] - 1].view(shape)

    def slot(self, layer: int, name: str, of: str = "values") -> Tensor:
        """A layer's weights, their gradients, or its moving statistics, (rows, columns)."""
        slot = self.slots[layer, name]
        return self.rows[of][slot.start : slot.end].view(slot.shape)

    def update(self, layer: int, name: str, first: int = 0, last: int | None = None) -> None:
        """The optimiser's step on some rows of a layer's weights, whose gradients are there."""
        slot = self.slots[layer, name]
        start = slot.start + first * slot.shape[1]
        end = slot.end if last is None else slot.start + last * slot.shape[1]
        part = {key: self.rows[key][start:end] for key in ("values", "grads", *OPTIMIZERS[self.run.optimizer][1])}
        if self.run.weight_decay and name == "weight":
            self.call("decay", [end - start], [part["values"], part["grads"]], [self.run.weight_decay])
        UPDATES[self.run.optimizer](self, part)


def _sgd(tape: Recorder, part: dict[str, Tensor]) -> None:
    rates = EachStep(tape.rows["rates"])
    arrays: list[Array] = [rates, part["values"], part["grads"], part["velocity"]]
    tape.call("sgd", [len(part["values"]), bool(tape.run.momentum)], arrays, [tape.run.momentum])


def _adam(tape: Recorder, part: dict[str, Tensor]) -> None:
    run = tape.run
    arrays: list[Array] = [EachStep(tape.rows[name]) for name in ("rates", "corrections")]
    arrays += [*(part[name] for name in ("values", "grads", "mean", "square")), tape.empty(PART)]
    constants = [run.beta1, 1 - run.beta1, run.beta2, 1 - run.beta2, run.adam_epsilon]
    tape.call("adam", [len(part["values"])], arrays, constants)


UPDATES = {"sgd": _sgd, "adam": _adam}


@cache
def shared_library() -> ctypes.CDLL:
    """The compiled calls, with torch's functions given to them.

    Raises:
        AttributeError: torch's library lacks one.
        OSError: it is not where it was looked for.
    """
    functions = ctypes.CDLL(str(kernels.shared_object()))
    torchs = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
    addresses = [ctypes.cast(getattr(torchs, name), ctypes.c_void_p) for name in LIBRARY]
    functions.use((ctypes.c_void_p * len(addresses))(*addresses))
    functions.replay.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long]
    return functions


@cache
def lacking() -> str:
    """Why nothing can be recorded here, or an empty text."""
    loops, why = kernels.compiled()
    if loops is kernels.REFERENCE:
        return why
    try:
        shared_library()
    except (AttributeError, OSError) as error:
        return str(error)[:200]
    return ""
