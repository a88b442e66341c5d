"""Rates of operations: a complete table, and one measurement that scales it."""

import subprocess
import sys

import pytest

from bnbench.arithmetic import build, library
from bnbench.plan import rates


def test_every_instruction_set_has_positive_rates() -> None:
    assert rates.RATES.keys() >= build.SETS.keys()
    assert all(seconds > 0 for row in rates.RATES.values() for seconds in row)


def test_the_rates_here_are_the_table_scaled_by_one_measured_product(monkeypatch: pytest.MonkeyPatch) -> None:
    known = rates.RATES[library.instructions()]
    monkeypatch.setattr(rates, "product_seconds", lambda: 3 * known.multiply * rates.SIZE**3)
    rates.here.cache_clear()
    assert rates.here() == pytest.approx([3 * seconds for seconds in known])
    monkeypatch.setattr(rates, "product_seconds", lambda: None)
    rates.here.cache_clear()
    assert rates.here() == pytest.approx(known)
    rates.here.cache_clear()


def test_a_product_of_the_compiled_library_is_timed() -> None:
    assert not library.lacking()
    seconds = rates.product_seconds()
    assert seconds is not None
    assert 0 < seconds < 1


def test_planning_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "intact", lambda _instructions: None)
    monkeypatch.setattr(build, "shared_object", lambda _instructions: pytest.fail("planning compiles"))
    assert rates.product_seconds() is None


def test_estimates_load_no_torch() -> None:
    code = "import sys; from bnbench.plan import cost, rates; rates.here(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
