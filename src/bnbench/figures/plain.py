"""Matplotlib and pandoc as they come: the settings of whoever draws a figure or writes a report do not reach it."""

import contextlib
import os
from importlib.util import find_spec
from pathlib import Path

# what would change how figures are drawn; a notebook's kernel exports the first
AMBIENT = ("MPLBACKEND", "MATPLOTLIBRC", "FREETYPE_PROPERTIES")


def load() -> None:
    """Import matplotlib with its own settings and the backend that needs no screen, before others import it.

    At its import it reads a `matplotlibrc` of the working folder, of the variable that names one, or of the user's
    folder, and ends in an error for a backend that is not installed. In the folder of its own one it finds that.
    """
    for name in AMBIENT:
        os.environ.pop(name, None)
    with contextlib.chdir(folder("matplotlib") / "mpl-data"):
        import matplotlib as mpl
    mpl.use("agg")


def pandoc() -> None:
    """Let pypandoc take the pandoc that it brings; by itself it takes the newest that it finds on this machine."""
    own = folder("pypandoc") / "files" / "pandoc"
    if own.is_file():
        os.environ["PYPANDOC_PANDOC"] = str(own)


def folder(package: str) -> Path:
    """Where an installed package lies, found without importing it."""
    found = find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent
