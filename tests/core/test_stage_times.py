"""The summary of wall times at the end of a Snakemake run."""

import os
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from bnbench.core import stage_times


def _notes(folder: Path, *spans: tuple[str, float, float]) -> Path:
    path = folder / "notes"
    path.write_bytes(b"".join(orjson.dumps(span) + b"\n" for span in spans))
    return path


def test_time_outside_the_stages_is_the_overhead(tmp_path: Path) -> None:
    notes = _notes(tmp_path, ("prepare", 2, 5), ("train", 6, 46))
    assert stage_times.summary(notes, 0, 50) == (
        "50 s: prepare 3 s, train 40 s; 7 s (14%) Snakemake and the starts of processes"
    )


def test_simultaneous_stages_are_counted_once_in_the_overhead(tmp_path: Path) -> None:
    notes = _notes(tmp_path, ("prepare", 0, 8), ("prepare", 1, 4), ("train", 6, 10))
    assert stage_times.summary(notes, 0, 10).endswith("; 0 s (0%) Snakemake and the starts of processes")


def test_without_stages_only_the_total_is_printed(tmp_path: Path) -> None:
    line = stage_times.summary(tmp_path / "none", 0, 4)
    assert line == "4 s: 4 s (100%) Snakemake and the starts of processes"


def test_a_command_records_its_stage_only_below_snakemake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(stage_times.NOTES, raising=False)
    with stage_times.timed("train"):
        pass
    monkeypatch.setenv(stage_times.NOTES, str(tmp_path / "none" / "notes"))
    with stage_times.timed("train"):
        pass
    assert list(tmp_path.iterdir()) == []
    notes, begun = tmp_path / "notes", time.time()
    command = [sys.executable, "-m", "bnbench.cli", "schema", "--out", str(tmp_path / "schema.json")]
    subprocess.run(command, env={**os.environ, stage_times.NOTES: str(notes)}, check=True)
    stage, first, last = orjson.loads(notes.read_bytes())
    assert stage == "schema"
    assert begun < first < last < time.time()
