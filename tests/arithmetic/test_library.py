"""The instruction set is chosen by the processor, or by the environment among those that it has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bnbench.arithmetic import library
from bnbench.arithmetic.build import SETS, X86
from bnbench.core.errors import UserError

FMA_ONLY = "flags\t\t: fpu sse2 avx fma avx2\nflags\t\t: fpu"
CHOSEN = {
    "flags : fpu fma avx2 avx512f avx512bw avx512dq avx512vl": "avx512",
    "flags : fpu fma avx2 avx512f": "avx2",  # a Xeon Phi
    FMA_ONLY: "avx2",
    "flags : fpu sse2 avx avx2": "plain",  # without fma
    "Features : fp asimd": "plain",  # another architecture
    "": "plain",
}


@pytest.fixture
def _unchosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(library.CHOICE, raising=False)


@pytest.mark.usefixtures("_unchosen")
@pytest.mark.parametrize(("flags", "expected"), CHOSEN.items())
def test_the_best_set_that_the_processor_has_is_used(
    flags: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n")
    monkeypatch.setattr(library, "CPUINFO", tmp_path / "cpuinfo")
    assert library.instructions.__wrapped__() == (expected if X86 else "plain")


@pytest.mark.usefixtures("_unchosen")
def test_plain_c_is_used_where_the_processor_is_not_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "CPUINFO", tmp_path / "absent")
    assert library.instructions.__wrapped__() == "plain"


@pytest.mark.parametrize("asked", ["sse", "avx512 ", *(name for name in SETS if name != "plain")])
def test_a_set_that_is_unknown_or_that_the_processor_lacks_is_an_error_that_names_the_others(
    asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text("flags : fpu\n")
    monkeypatch.setattr(library, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setenv(library.CHOICE, asked)
    with pytest.raises(UserError, match=f"{library.CHOICE} is {asked}; use one of .*: plain$"):
        library.instructions.__wrapped__()


ARITHMETIC = """
import torch
from bnbench.arithmetic import library, philox
x = philox.normal(philox.Stream((1, 2), 3), 1000)
y = torch.empty(1000)
for op in ("exp", "tanh"):
    library.run(op, [1000], [x, y])
    print(y.numpy().tobytes().hex())
"""


def _printed(**variables: str) -> str:
    environment = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, "-c", ARITHMETIC], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_neither_torchs_choice_of_instructions_nor_ours_changes_a_result() -> None:
    assert _printed(ATEN_CPU_CAPABILITY="default") == _printed(ATEN_CPU_CAPABILITY="avx2", BNBENCH_ARITHMETIC="plain")


def test_calls_are_executed_in_order_once_per_step_with_the_arrays_of_the_step() -> None:
    x, total = torch.arange(12.0).view(4, 3), torch.zeros(3)
    doubled = torch.empty(3)
    calls = [
        library.call("add", [3], [library.EachStep(x), library.EachStep(x), doubled]),
        library.call("add", [3], [total, doubled, total]),
    ]
    library.replay(library.listed(calls), 4)
    assert torch.equal(total, 2 * x.sum(0))
