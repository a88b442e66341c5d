"""The benchmark's rows on a tiny grid: real processes, real records."""

from pathlib import Path

import pytest
from benchmarks.grids import Grid, key

from benchmarks import compare, grids, rows, table

FRAGMENT = {
    "studies": {
        "tiny": {
            "title": "Tiny",
            "question": "Does it end?",
            "work": "E",
            "base": {"dataset": "digits", "model": "64-16-10", "epochs": 2, "batch_size": 32},
            "grid": {"product": {"norm": ["none", "batch"], "seed": [0, 1]}},
        }
    }
}


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    """Return a grid of four runs with their prepared data."""
    for module in (grids, rows):
        monkeypatch.setattr(module, "WORK", tmp_path)
    monkeypatch.setattr(rows, "WIDTHS", (1, 2))
    tiny = Grid("tiny", FRAGMENT)
    tiny.prepare()
    return tiny


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in rows.ROWS if not name.startswith("limit")])
def test_a_row_trains_the_runs_that_it_is_asked_for(grid: Grid, name: str) -> None:
    row = rows.ROWS[name]
    if not row.able:
        pytest.skip(f"{row.module} is not installed")
    runs = [run for run, settings in grid.runs.items() if row.takes(settings)]
    runs = runs[1:] if row.alone else runs
    measured = row.measure(grid, runs, 2)
    keys = [key(grid.runs[run].model_dump()) for run in runs]
    assert sorted(measured.accuracy) == sorted(keys)
    assert all(0.3 < (accuracy or 0) < 1 for accuracy in measured.accuracy.values())
    assert list(measured.seconds) == (keys if row.alone else [])
    assert 0 < max(measured.seconds.values(), default=measured.wall) <= measured.wall


@pytest.mark.slow
def test_runs_one_by_one_are_those_of_the_packs_and_the_table_says_so(grid: Grid) -> None:
    names = ["one process per run", "bnbench train", "limit, fp32"]
    result = compare.measured(grid, {name: rows.ROWS[name] for name in names}, rounds=1, subset=2)
    assert compare.problems(result["rounds"]) == []
    done = result["rounds"][0]
    alone, packed = done["one process per run"].accuracy, done["bnbench train"].accuracy
    assert len(alone) == 2
    assert alone.items() <= packed.items()
    assert 0 < done["limit, fp32"].wall < done["bnbench train"].wall
    assert table.restored(table.plain({"tiny": result})) == {"tiny": result}
    text = table.markdown({"tiny": result}, "cpu", 2)
    assert "| one process per run | 2 of 4 |" in text
    assert "| bnbench train | 4 of 4 |" in text
    assert "+0.0000 (n = 2, at most 0.0000)" in text
