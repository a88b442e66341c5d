"""Lookup of the reader of a raw data format: the function `read` of the module of its name in this folder."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import cast

from bnbench.data.prepared import Arrays, Shape

# raw files by name, declared shape of an image, number of threads -> images and labels
Reader = Callable[[Mapping[str, Path], Shape, int], Arrays]


def reader(name: str) -> Reader:
    """Return the reader of a format of `params.formats.FORMATS`."""
    return cast(Reader, import_module(f"bnbench.data.formats.{name}").read)
