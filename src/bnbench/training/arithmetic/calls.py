"""Calls of compiled functions on arrays, noted and replayed: optimizers.c, products.c and tape.c."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from bnbench.training.arithmetic import kernels, torch_loops
from bnbench.training.arithmetic.build import shared_object

WIDTH = 8  # of tape.h: sizes, constants and arrays of a call
# functions of torch's library that the calls use, in tape.c's order
LIBRARY = ("sgemm_", "vmsTanh", "vmsExp", "vmsSqrt", "Sleef_expf8_u10", "Sleef_logf8_u10")


class Call(ctypes.Structure):
    """A call as tape.h has it."""

    _fields_ = (
        ("op", ctypes.c_void_p),
        ("n", ctypes.c_long * WIDTH),
        ("f", ctypes.c_float * WIDTH),
        ("p", ctypes.c_void_p * WIDTH),
        ("by", ctypes.c_long * WIDTH),
    )


@dataclass(frozen=True)
class EachStep:
    """Arrays of many steps, the step in front: a call in step s works on the part `array[s]`."""

    array: Tensor


Array = Tensor | EachStep


def call(op: str, sizes: Sequence[int], arrays: Sequence[Array], constants: Sequence[float] = ()) -> Call:
    """A call of `op_...`. The arrays must live until it is replayed."""
    made = Call(op=ctypes.cast(getattr(shared_library(), f"op_{op}"), ctypes.c_void_p))
    made.n[: len(sizes)], made.f[: len(constants)] = list(sizes), list(constants)
    for i, array in enumerate(arrays):
        if isinstance(array, EachStep):
            made.p[i], made.by[i] = array.array.data_ptr(), array.array.stride(0)
        else:
            made.p[i] = array.data_ptr()
    return made


def replay(calls: Sequence[Call] | ctypes.Array[Call], steps: int = 1) -> None:
    """All calls in turn, for each step."""
    row = calls if isinstance(calls, ctypes.Array) else (Call * len(calls))(*calls)
    shared_library().replay(row, len(row), steps)


@cache
def shared_library() -> ctypes.CDLL:
    """The compiled calls, with torch's functions given to them.

    Raises:
        AttributeError: torch's library lacks one.
        OSError: it is not where it was looked for.
    """
    functions = ctypes.CDLL(str(shared_object()))
    functions.use((ctypes.c_void_p * len(LIBRARY))(*(kernels.torchs(name) for name in LIBRARY)))
    functions.replay.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long]
    return functions


def has(op: str) -> bool:
    """Whether this machine's library has an `op_...`."""
    return hasattr(shared_library(), f"op_{op}")


@cache
def lacking() -> str:
    """Why nothing can be recorded here, or an empty text."""
    loops, why = kernels.compiled()
    if loops is torch_loops.REFERENCE:
        return why
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return "the processor has no AVX2"
    try:
        shared_library()
    except (AttributeError, OSError) as error:
        return str(error)[:200]
    return ""
