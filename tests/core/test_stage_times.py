"""What a start tells of its time."""

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


def test_what_no_stage_took_is_snakemakes_share(tmp_path: Path) -> None:
    notes = _notes(tmp_path, ("prepare", 2, 5), ("train", 6, 46))
    assert stage_times.summary(notes, 0, 50) == (
        "50 s: prepare 3 s, train 40 s; 7 s (14%) Snakemake and the starts of processes"
    )


def test_stages_at_the_same_time_are_counted_once_in_the_share(tmp_path: Path) -> None:
    notes = _notes(tmp_path, ("prepare", 0, 8), ("prepare", 1, 4), ("train", 6, 10))
    assert stage_times.summary(notes, 0, 10).endswith("; 0 s (0%) Snakemake and the starts of processes")


def test_a_start_without_stages_tells_its_time(tmp_path: Path) -> None:
    told = stage_times.summary(tmp_path / "none", 0, 4)
    assert told == "4 s: 4 s (100%) Snakemake and the starts of processes"


def test_a_command_notes_its_stage_only_where_a_start_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
