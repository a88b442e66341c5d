"""Calls of the compiled operations on arrays: executed at once, or recorded and replayed without Python between them.

All operations have one C signature, `op(n, f, p)`: sizes, constants, arrays. Arrays are contiguous torch tensors in
main memory, fp32 unless the operation says otherwise.
"""

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torch import Tensor

from bnbench.arithmetic.build import SETS, shared_object
from bnbench.core.errors import UserError

WIDTH = 12  # as MOST in ops.h: at most this many sizes, constants and arrays of a call
CHOICE = "BNBENCH_ARITHMETIC"  # environment variable: an instruction set to use instead of the best
CPUINFO = Path("/proc/cpuinfo")


class Call(ctypes.Structure):
    """The struct `Call` of ops.h."""

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
    recorded = Call(op=ctypes.cast(getattr(library(), f"op_{op}"), ctypes.c_void_p))
    recorded.n[: len(sizes)], recorded.f[: len(constants)] = list(sizes), list(constants)
    for i, array in enumerate(arrays):
        if isinstance(array, EachStep):
            recorded.p[i] = array.array.data_ptr()
            recorded.by[i] = array.array.stride(0) * array.array.element_size()
        else:
            recorded.p[i] = array.data_ptr()
    return recorded


def listed(calls: Sequence[Call]) -> ctypes.Array[Call]:
    """Return calls as one array, to be replayed."""
    return (Call * len(calls))(*calls)


def replay(calls: ctypes.Array[Call], steps: int = 1) -> None:
    """Execute the calls in order, once for each step."""
    library().replay(calls, len(calls), steps)


def run(op: str, sizes: Sequence[int], arrays: Sequence[Tensor], constants: Sequence[float] = ()) -> None:
    """Execute one call."""
    replay(listed([call(op, sizes, arrays, constants)]))


@cache
def library() -> ctypes.CDLL:
    """Load the operations compiled for this processor.

    Raises:
        OSError: no library can be built or loaded; see `lacking`.
        UserError: as `instructions`.
    """
    return load(shared_object(instructions()))


def load(path: Path) -> ctypes.CDLL:
    """Load a library that `shared_object` returned."""
    functions = ctypes.CDLL(str(path))
    functions.replay.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long]
    return functions


@cache
def lacking() -> str:
    """Return why this machine has no compiled operations, or an empty string if it has them.

    Raises:
        UserError: as `instructions`.
    """
    try:
        library()
    except OSError as error:
        return str(error)[:300]
    return ""


@cache
def instructions() -> str:
    """Return the best instruction set of `SETS` that this processor has, or the one that the environment asks for.

    Torch's variable ATEN_CPU_CAPABILITY has no influence.

    Raises:
        UserError: the environment asks for a set that is unknown, or that this processor lacks.
    """
    asked, usable = (
        os.environ.get(CHOICE),
        [name for name, (_, needed) in SETS.items() if features().issuperset(needed)],
    )
    if asked and asked not in usable:
        raise UserError(f"{CHOICE} is {asked}; use one of those that this processor has: {', '.join(usable)}")
    return asked or usable[0]


def features() -> set[str]:
    """Return the flags of this processor as Linux lists them; none on another system, where plain C is used."""
    if not CPUINFO.exists():
        return set()
    return set(next((line for line in CPUINFO.read_text().splitlines() if line.startswith("flags")), "").split())
