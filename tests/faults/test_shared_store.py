"""Clones that share a run store or data train each run once, lose none, and delete no clone's unfinished files."""

import contextlib
import os
import re
import signal
from pathlib import Path

import pytest

from bnbench.core.files import write_json
from tests.faults.clones import TRAIN, begun, clone, share, started, until
from tests.support.miniature import miniature

LONG = (
    ("epochs: 1, model", "epochs: 3000, model"),
    ("seed: [0, 1]", "seed: [0]"),
    ("norm: [none, batch]", "norm: [batch]"),
)


def pair(tmp_path: Path, *edits: tuple[str, str]) -> tuple[Path, Path]:
    """Create two clones with one run store and the same job."""
    one = tmp_path / "one"
    clone(one, *edits)
    other = share(one, "results/runs", "data")
    (other / "job.json").write_bytes((one / "job.json").read_bytes())
    (other / "params.yaml").write_bytes((one / "params.yaml").read_bytes())
    return one, other


def test_a_run_of_a_shared_store_is_waited_for_and_its_holder_is_named(tmp_path: Path) -> None:
    one, other = pair(tmp_path, *LONG)
    with started(one, *TRAIN) as first:
        until(lambda: begun(one), lambda: first.told)
        first.signal(signal.SIGSTOP)
        with started(other, *TRAIN) as second:
            until(lambda: "waiting for run " in second.told or begun(other), lambda: second.told)
            assert not begun(other)
            holder = re.search(r"waiting for run \w+: process (\d+) \(", second.told)
            assert holder, second.told
            assert os.getpgid(int(holder[1])) == first.process.pid
            first.signal(signal.SIGCONT)
            assert "continuing with run " in second.ended()
        first.ended()
    assert not begun(other)
    assert len(list((one / "results" / "runs").glob("*/run.json"))) == 1


def test_a_folder_that_another_clone_is_writing_stays(tmp_path: Path) -> None:
    """A process removes leftovers of killed writers of a run only once it holds the run's lock."""
    one, other = pair(tmp_path, *LONG)
    with started(one, *TRAIN) as first:
        until(lambda: begun(one), lambda: first.told)
        first.signal(signal.SIGSTOP)
        (run,) = begun(one)
        written = one / "results" / "runs" / f".{run}.abcdefgh"
        write_json(written / "history.json", {})
        with started(other, *TRAIN) as second:
            until(lambda: "waiting for run " in second.told or not written.exists(), lambda: second.told)
            assert written.exists()
        assert written.exists()
        first.signal(signal.SIGCONT)
        first.ended()
    assert not written.exists()  # with the run's lock held, it counts as the leftover of a killed writer


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_several_starts_in_clones_of_one_store_train_each_run_once(tmp_path: Path, count: int) -> None:
    one, other = pair(tmp_path)
    for _ in range(3):
        for place in ("results/runs", "results/timings"):
            for path in (one / place).glob("[!.]*"):
                path.rename(tmp_path / f"{path.name}-{len(list(tmp_path.iterdir()))}")
        with contextlib.ExitStack() as running:
            folders = [one, other, one, other][:count]
            all_of = [running.enter_context(started(folder, *TRAIN)) for folder in folders]
            told = [process.ended() for process in all_of]
        assert sum(int(count) for text in told for count in re.findall(r"^(\d+) runs: ", text, re.MULTILINE)) == 4, told
        assert len(list((one / "results" / "runs").glob("*/run.json"))) == 4
        assert [path.name for path in (one / "results" / "runs").glob(".*")] == [".locks"]


@pytest.mark.slow
def test_several_preparations_of_one_folder_give_it_once(tmp_path: Path) -> None:
    one, other = pair(tmp_path)
    for round_ in range(3):
        words = ("bnbench", "prepare", "digits", "--out", f"data/prepared/digits-{round_}")
        with contextlib.ExitStack() as running:
            for process in [running.enter_context(started(folder, *words)) for folder in (one, other, one, other)]:
                assert "1197 train" in process.ended()
    assert not [path.name for path in (one / "data" / "prepared").glob(".*") if path.name != ".locks"]


@pytest.mark.slow
def test_two_snakemakes_in_clones_of_one_store_and_data_train_each_run_once(tmp_path: Path) -> None:
    one = miniature(tmp_path / "one").folder
    other = miniature(tmp_path / "other").folder
    (other / "results").mkdir(exist_ok=True)
    for place in ("data", "results/runs"):
        (one / place).mkdir(parents=True)
        (other / place).symlink_to(one / place)
    with contextlib.ExitStack() as running:
        words = ("snakemake", "--cores", "1")
        both = [
            running.enter_context(started(folder, *words, PYTHONPATH=str(folder / "src"))) for folder in (one, other)
        ]
        told = "".join(process.ended() for process in both)
    assert sum(int(count) for count in re.findall(r"^(\d+) runs: ", told, re.MULTILINE)) == 4, told
    assert len(list((one / "results" / "runs").glob("*/run.json"))) == 4
    tables = [(folder / "results" / "tables" / "runs.csv").read_bytes() for folder in (one, other)]
    assert tables[0] == tables[1]
