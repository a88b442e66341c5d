"""The compiled operations as built for each instruction set that this processor executes."""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import pytest

from bnbench.arithmetic import library
from bnbench.arithmetic.build import SETS, shared_object

BUILDS = list(SETS)[list(SETS).index(library.instructions()) :]  # from the best to plain C
T = TypeVar("T")


@cache
def _loaded(build: str) -> ctypes.CDLL:
    functions = ctypes.CDLL(str(shared_object(build)))
    functions.replay.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long]
    return functions


def in_each(compute: Callable[[], T]) -> dict[str, T]:
    """Return what a function returns by each build."""
    found = {}
    for build in BUILDS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(library, "library", lambda build=build: _loaded(build))
            found[build] = compute()
    return found
