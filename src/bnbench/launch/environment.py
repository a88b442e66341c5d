"""Snakemake's process: its folder, the programs that its rules find, and errors without a stack."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from bnbench.core.errors import UserError


@contextlib.contextmanager
def without_traceback() -> Iterator[None]:
    """Turn a user's error into a `SystemExit` with its message: Snakemake shows any other error with its stack."""
    try:
        yield
    except UserError as error:
        raise SystemExit(f"snakemake: {error}") from None


def check_folder_name(folder: str) -> None:
    """Check that the path of the Snakefile's folder has no braces, which Snakemake would take for wildcards.

    Raises:
        SystemExit: it has.
    """
    if set("{}") & set(folder):
        raise SystemExit(
            f"snakemake: {folder}: Snakemake cannot work in a path with braces; rename or move that folder"
        )


def put_own_programs_first() -> None:
    """Put the folder of this interpreter first on PATH, so that the shells of rules run the `bnbench` beside it.

    It is set here and not in the rules, so that an environment activated by `--sdm conda` still takes precedence.
    """
    here, others = str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)
    if others.split(os.pathsep)[0] != here:
        os.environ["PATH"] = f"{here}{os.pathsep}{others}"
