"""Import of matplotlib and choice of pandoc without the user's own settings: the same outputs everywhere."""

import contextlib
import os
from importlib.util import find_spec
from pathlib import Path

# variables that change how figures are drawn; a notebook's kernel exports the first
AMBIENT = ("MPLBACKEND", "MATPLOTLIBRC", "FREETYPE_PROPERTIES")


def load() -> None:
    """Import matplotlib with its default settings and the backend that needs no screen, before others import it.

    At import, matplotlib reads a `matplotlibrc` from the working folder, a variable or the user's folder, and raises
    an error for a backend that is not installed. From the folder of its own `matplotlibrc` it reads that one.
    """
    for name in AMBIENT:
        os.environ.pop(name, None)
    with contextlib.chdir(folder("matplotlib") / "mpl-data"):
        import matplotlib as mpl
    mpl.use("agg")


def pandoc() -> None:
    """Make pypandoc use its bundled pandoc; by default it uses the newest one on the machine."""
    own = folder("pypandoc") / "files" / "pandoc"
    if own.is_file():
        os.environ["PYPANDOC_PANDOC"] = str(own)


def folder(package: str) -> Path:
    """Return the folder of an installed package, without importing it."""
    found = find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent
