"""Means and intervals of the tables: the same bytes whatever instructions the libraries use."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bnbench.tables.summary import half_width
from tests.support.little import ROOT
from tests.support.store import fill_store, make_plan

numpys = importlib.import_module("numpy._core._multiarray_umath")
DISPATCHED = [name for name in numpys.__cpu_dispatch__ if numpys.__cpu_features__[name]]
# a library -> environment variables that restrict it to the instructions of an old processor
RESTRICTED = {
    "as it is": {},
    "NumPy": {"NPY_DISABLE_CPU_FEATURES": " ".join(DISPATCHED)},
    "C library": {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-FMA4,-AVX512F"},
    "Arrow": {"ARROW_USER_SIMD_LEVEL": "NONE"},
}
CODE = """
import sys
from pathlib import Path
from numpy._core import _multiarray_umath as numpys
from bnbench.tables.collect import collect
from tests.support.store import as_record, make_plan
collect(as_record(make_plan()), Path(sys.argv[1]), Path(sys.argv[2]))
print(*(name for name in numpys.__cpu_dispatch__ if numpys.__cpu_features__[name]))
"""


def test_tables_are_the_same_bytes_whatever_instructions_the_libraries_use(tmp_path: Path) -> None:
    fill_store(make_plan(), tmp_path / "runs")
    found, enabled = {}, {}
    for library, variables in RESTRICTED.items():
        folder = tmp_path / library
        done = subprocess.run(
            [sys.executable, "-c", CODE, tmp_path / "runs", folder / "tables"],
            cwd=ROOT,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=True,
        )
        enabled[library] = done.stdout.split()
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        found[library] = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    assert len(found["as it is"]) > 10
    assert enabled["as it is"] == DISPATCHED
    assert enabled["NumPy"] == []
    assert [library for library, files in found.items() if files != found["as it is"]] == []


def test_an_interval_needs_two_values() -> None:
    half = half_width(np.array([0.1, np.nan, 0.1, 0.1]), np.array([0.0, 1.0, 2.0, 5.0]))
    assert np.isnan(half).tolist() == [True, True, False, False]
    # t of 1 and 4 degrees of freedom, from a printed table
    assert half[2:] == pytest.approx([12.706 * 0.1 / np.sqrt(2), 2.776 * 0.1 / np.sqrt(5)], rel=5e-4)
