"""The compiled operations as built for each instruction set of this processor, by each C compiler that is installed.

Libraries are compiled once, into the user's cache.
"""

import ctypes
import os
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bnbench.arithmetic import build, library
from bnbench.arithmetic.build import COMPILERS, SETS, Command

Array = NDArray[np.float32]
T = TypeVar("T")


def _builds() -> dict[str, tuple[str, Command | None]]:
    """Return name -> instruction set and compiler, None for the one that compiles for users."""
    compilers: dict[str, Command | None] = {}
    known: set[str] = set()
    for command in [*build.compilers(), *filter(None, map(build.installed, COMPILERS))]:
        program = os.path.realpath(command[0])
        if program not in known:
            compilers[f" by {command[0]}" if known else ""] = command if known else None
            known.add(program)
    sets = list(SETS)[list(SETS).index(library.instructions()) :]  # from the best of this processor to plain C
    return {f"{name}{by}": (name, command) for by, command in compilers.items() for name in sets}


BUILDS = _builds()


@cache
def _loaded(name: str) -> ctypes.CDLL:
    return library.load(build.shared_object(*BUILDS[name]))


def in_each(compute: Callable[[], T]) -> dict[str, T]:
    """Return what a function returns by each build."""
    found = {}
    for name in BUILDS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(library, "library", lambda name=name: _loaded(name))
            found[name] = compute()
    return found


def everywhere(
    op: str, sizes: Sequence[int], arrays: Sequence[Array], constants: Sequence[float] = (), work: int = 0
) -> list[Array]:
    """Execute an operation on copies of the arrays in each build, check that all give the same bytes, and return them.

    Args:
        op: its name.
        sizes: as the operation takes them.
        arrays: as it takes them, but for the work space, which is the last.
        constants: as it takes them.
        work: floats of work space, which is not compared.
    """

    def compute() -> list[Array]:
        own = [np.array(array, order="C") for array in arrays]
        space = [torch.full((work,), torch.nan)] if work else []
        library.run(op, sizes, [*map(torch.from_numpy, own), *space], constants)
        return own

    (first, expected), *rest = in_each(compute).items()
    for name, got in rest:
        for i, (a, b) in enumerate(zip(expected, got, strict=True)):
            assert plain_nan(a) == plain_nan(b), f"{op}: array {i} differs between {first} and {name}"
    return expected


def plain_nan(x: Array) -> bytes:
    """Return an array's bytes with every NaN as the same one: which one it is, IEEE 754 leaves open."""
    return np.where(np.isnan(x), np.float32(np.nan), x).astype(x.dtype).tobytes()


def blank(*shape: int) -> Array:
    """Return an array for results: NaN, so that what is not written is seen."""
    return np.full(shape, np.nan, np.float32)
