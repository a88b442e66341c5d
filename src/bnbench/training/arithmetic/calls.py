"""Calls of compiled functions on arrays, recorded and replayed: optimizers.c, products.c and program.c."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from bnbench.training.arithmetic import kernels, torch_loops
from bnbench.training.arithmetic.build import shared_object

WIDTH = 8  # as in program.h: at most this many sizes, constants and arrays of a call
# functions of torch's library that the calls use, in the order of program.c
LIBRARY = ("sgemm_", "vmsTanh", "vmsExp", "vmsSqrt", "Sleef_expf8_u10", "Sleef_logf8_u10")


class Call(ctypes.Structure):
    """The struct `Call` of program.h."""

    _fields_ = (
        ("op", ctypes.c_void_p),
        ("n", ctypes.c_long * WIDTH),
        ("f", ctypes.c_float * WIDTH),
        ("p", ctypes.c_void_p * WIDTH),
        ("by", ctypes.c_long * WIDTH),
    )


@dataclass(frozen=True)
class EachStep:
    """An array with the step as its first axis: a call in step s uses `array[s]`."""

    array: Tensor


Array = Tensor | EachStep


def call(op: str, sizes: Sequence[int], arrays: Sequence[Array], constants: Sequence[float] = ()) -> Call:
    """Return a call of the compiled function `op_...`. The arrays must live until the last replay."""
    recorded = Call(op=ctypes.cast(getattr(shared_library(), f"op_{op}"), ctypes.c_void_p))
    recorded.n[: len(sizes)], recorded.f[: len(constants)] = list(sizes), list(constants)
    for i, array in enumerate(arrays):
        if isinstance(array, EachStep):
            recorded.p[i], recorded.by[i] = array.array.data_ptr(), array.array.stride(0)
        else:
            recorded.p[i] = array.data_ptr()
    return recorded


def replay(calls: Sequence[Call] | ctypes.Array[Call], steps: int = 1) -> None:
    """Execute the calls in order, once for each step."""
    row = calls if isinstance(calls, ctypes.Array) else (Call * len(calls))(*calls)
    shared_library().replay(row, len(row), steps)


@cache
def shared_library() -> ctypes.CDLL:
    """Load the compiled functions, and pass them the addresses of torch's functions.

    Raises:
        AttributeError: torch's library lacks one of the functions.
        OSError: torch's library is not at its usual path.
    """
    functions = ctypes.CDLL(str(shared_object()))
    functions.use((ctypes.c_void_p * len(LIBRARY))(*(kernels.torchs(name) for name in LIBRARY)))
    functions.replay.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long]
    return functions


def has(op: str) -> bool:
    """Return whether the compiled library has the function `op_...` on this machine."""
    return hasattr(shared_library(), f"op_{op}")


def lacking() -> str:
    """Return why this machine cannot execute compiled programs, or an empty string if it can."""
    loops, why = kernels.compiled()
    return why if loops is torch_loops.REFERENCE else functions_lacking()


@cache
def functions_lacking() -> str:
    """Return why the functions of torch's library that the calls use are not available, or an empty string."""
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return "the processor has no AVX2"
    try:
        shared_library()
    except (AttributeError, OSError) as error:
        return str(error)[:200]
    return ""
