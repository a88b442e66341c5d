"""Training jobs as real processes: killed, interrupted, started twice at once, crashing."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bnbench.core import files
from bnbench.data import prepared as data
from bnbench.data.manifest import MANIFEST, seal
from bnbench.params.run_schema import Run
from bnbench.plan.identity import run_id
from bnbench.plan.packs import PackRecord, write_packs
from bnbench.training import job as jobs
from bnbench.training import train as training
from bnbench.training import worker
from bnbench.training.engine.choose import Engine, choose
from bnbench.training.kernels import loops
from bnbench.training.pack.pack import Pack as Training
from bnbench.training.worker import Workspace
from tests.support import shell
from tests.support.little import digits, run


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Return the digits as a prepared folder."""
    folder = tmp_path / "digits"
    folder.mkdir()
    parts: dict[str, Any] = {}
    for name in data.PARTS:
        part = getattr(digits(), name)
        parts[name] = {"n": len(part.labels)}
        for array in data.ARRAYS:
            path = folder / data.file_name(name, array)
            np.save(path, getattr(part, array))
            parts[name][f"{array}_sha256"] = files.checksum(path, "sha256")
    said = {"title": "Digits", "licence": "free", "format": "digits", "sources": {}}
    about = said | {"name": "digits", "fingerprint": "0" * 16, "classes": 10, "shape": [1, 8, 8], "parts": parts}
    files.write_json(folder / MANIFEST, seal(about))
    return folder


def _job(tmp_path: Path, prepared: Path, runs: list[Run], width: int = 4) -> Path:
    named = {run_id(one, "0" * 16): one for one in runs}
    parts = [dict(list(named.items())[i : i + width]) for i in range(0, len(named), width)]
    path = tmp_path / "job.json"
    write_packs(path, [PackRecord.of(part, str(prepared), 1.0) for part in parts])
    return path


def _space(folder: Path, seconds: float = 30.0) -> Workspace:
    return Workspace(folder / "runs", folder / "timings", folder / "work", checkpoint_seconds=seconds)


def _command(job: Path, folder: Path, *more: str) -> list[str]:
    paths = ["--out", folder / "runs", "--timings", folder / "timings", "--work", folder / "work"]
    return [shell.PROGRAM, "train", str(job), *map(str, paths), "--workers", "2", *more]


def _contents(folder: Path) -> dict[str, bytes]:
    paths = sorted((folder / "runs").glob("*/*"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


RUNS = [run(model="64-24-10", epochs=3, seed=seed, learning_rate=rate) for seed in range(4) for rate in (0.01, 0.1)]
KEPT: dict[str, Any] = {"probes": ["drift", "percentiles"], "save_weights": True}
WORKERS = 2
# longer than a tenth of a worker's share each, and so trained one by one
LONG = [run(model="64-50-10", epochs=150, batch_size=8, seed=seed, **KEPT) for seed in range(6)]


def test_a_job_stores_each_run_once_and_a_second_start_trains_nothing(tmp_path: Path, prepared: Path) -> None:
    job = _job(tmp_path, prepared, RUNS)
    space = _space(tmp_path)
    assert jobs.summary(jobs.train_job(job, space, workers=2)) == "8 runs: 8 ok"
    before = {path: path.stat().st_mtime_ns for path in space.store.rglob("*")}
    assert jobs.summary(jobs.train_job(job, space, workers=2)) == "nothing to train"
    assert before == {path: path.stat().st_mtime_ns for path in space.store.rglob("*")}


def test_workers_and_packing_do_not_change_a_byte(tmp_path: Path, prepared: Path) -> None:
    stores = []
    for workers, width in ((1, 8), (2, 3)):
        folder = tmp_path / str(workers)
        jobs.train_job(_job(tmp_path, prepared, RUNS, width), _space(folder), workers)
        stores.append(_contents(folder))
    assert len(stores[0]) == 16
    assert stores[0] == stores[1]


def test_a_job_divides_a_wide_pack_among_its_workers(tmp_path: Path, prepared: Path) -> None:
    job = _job(tmp_path, prepared, RUNS, width=8)
    jobs.train_job(job, _space(tmp_path), workers=2, log=tmp_path / "log")
    packs = [files.read_json(path)["runs"] for path in (tmp_path / "timings").glob("*.json")]
    assert len(packs) > 1
    assert sorted(name for names in packs for name in names) == sorted(run_id(one, "0" * 16) for one in RUNS)


def test_a_worker_loads_data_again_only_where_a_pack_has_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_loaded", {})
    monkeypatch.setattr(worker, "_counts", [0.0, 0.0])
    loaded: list[str] = []

    def use(name: str, images: str) -> None:
        worker._reused("prepared", name, lambda: loaded.append(name))
        worker._reused("images", (name, images), lambda: loaded.append(f"{name} {images}"))

    for pair in (("a", "raw"), ("a", "raw"), ("a", "unit"), ("a", "unit"), ("b", "unit"), ("a", "unit")):
        use(*pair)
    assert loaded == ["a", "a raw", "a unit", "b", "b unit", "a", "a unit"]
    monkeypatch.setattr(worker, "_loaded", {})
    monkeypatch.setattr(worker, "_counts", None)  # no worker process: nothing is kept
    use("a", "raw")
    assert worker._loaded == {}


def _wait(seconds: float) -> Iterator[None]:
    """Yield repeatedly until the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.01)


def _children(parent: int) -> list[int]:
    path = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


@pytest.mark.parametrize("how", ["kill the worker", "kill all", "terminate", "interrupt the group"])
def test_a_stopped_job_goes_on_to_the_same_bytes(tmp_path: Path, prepared: Path, how: str) -> None:
    job = _job(tmp_path, prepared, LONG, width=6)
    jobs.train_job(job, _space(tmp_path / "whole"), workers=1)
    folder = tmp_path / "stopped"
    command = _command(job, folder, "--checkpoint-seconds", "0.01")
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # the parent of the tests may ignore it
    )  # fmt: skip
    saved = folder / "work" / "checkpoints"
    for _ in _wait(30):
        if saved.is_dir() and len(list(saved.glob("*.checkpoint"))) == WORKERS:
            break
    workers = _children(process.pid)
    assert workers
    if how == "kill the worker":
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
    elif how == "kill all":
        os.killpg(process.pid, signal.SIGKILL)
    elif how == "terminate":
        process.terminate()
    else:
        os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == (-signal.SIGKILL if how == "kill all" else 75), told
    assert "Traceback" not in told
    assert len(list((folder / "runs").glob("*/run.json"))) < len(LONG)
    again = subprocess.run(_command(job, folder), stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert again.returncode == 0, again.stderr
    assert _contents(folder) == _contents(tmp_path / "whole")
    assert list(saved.iterdir()) == []


def test_two_jobs_at_once_train_each_run_once(tmp_path: Path, prepared: Path) -> None:
    job = _job(tmp_path, prepared, RUNS)
    both = [subprocess.Popen(_command(job, tmp_path), stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    counts = [int(line.split(" runs:")[0]) if " runs:" in line else 0 for text in told for line in text.splitlines()]
    assert sum(counts) == len(RUNS)


def test_a_pack_that_crashes_is_named_and_the_others_are_stored(
    tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = _job(tmp_path, prepared, RUNS)
    first = next(iter(files.read_json(job)[0]["runs"]))

    def broken(names: list[str], *rest: Any) -> Training:
        if first in names:
            raise RuntimeError("broken")
        return training.start(names, *rest)

    monkeypatch.setattr(worker, "start", broken)
    with pytest.raises(jobs.PackCrashed, match="crashed, and so missing in the store"):
        jobs.train_job(job, _space(tmp_path), workers=1, log=tmp_path / "log")
    assert len(list((tmp_path / "runs").glob("*/run.json"))) == 4
    assert "Traceback" in (tmp_path / "log").read_text()


@pytest.mark.usefixtures("step_by_step")
def test_a_pack_too_large_for_the_devices_memory_is_split_to_the_same_bytes(
    tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [run(seed=seed, model="64-20-10", epochs=3) for seed in range(5)]
    job = _job(tmp_path, prepared, settings, width=5)
    jobs.train_job(job, _space(tmp_path / "large"), 1)

    class LittleMemory(Engine):
        def step(self, pack: Training) -> None:
            if len(pack.names) > most and pack.step == 30 * (most > 0):
                raise torch.OutOfMemoryError(f"no memory for more than {most}")
            super().step(pack)

    def chosen(pack: Training) -> Engine:
        engine = choose(pack)
        return LittleMemory(engine.steps, engine.reason)

    most = 2
    monkeypatch.setattr(training, "choose", chosen)
    space = _space(tmp_path / "little", seconds=0)  # a checkpoint after each step
    counts = jobs.train_job(job, space, 1, tmp_path / "log")
    assert counts == {"ok": 5}
    assert "split 2 times after running out of device memory" in (tmp_path / "log").read_text()
    assert _contents(tmp_path / "little" / "runs") == _contents(tmp_path / "large" / "runs")
    assert not list((tmp_path / "little" / "timings").glob("*"))  # a split pack is no measure of how long packs take
    alone = _job(tmp_path, prepared, settings[:1], width=1)
    most = 0
    with pytest.raises(jobs.PackCrashed, match="OutOfMemoryError: no memory for more than 0"):
        jobs.train_job(alone, _space(tmp_path / "none"), 1)


def test_what_a_gpu_lacks_is_said_once(tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [run(seed=seed, model="64-20-10", epochs=1) for seed in range(3)]
    monkeypatch.setitem(loops.lacking, "graphs of steps on this GPU", "it knows none")
    jobs.train_job(_job(tmp_path, prepared, settings, width=1), _space(tmp_path), 2, tmp_path / "log")
    told = "training without graphs of steps on this GPU (slower): it knows none"
    assert (tmp_path / "log").read_text().count(told) == 1


def test_altered_data_stop_the_job_before_it_trains(tmp_path: Path, prepared: Path) -> None:
    path = prepared / "train_images.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    done = subprocess.run(
        _command(_job(tmp_path, prepared, RUNS), tmp_path), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 3
    assert "train_images.npy was altered" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_store_that_cannot_be_written_ends_with_the_remedy(tmp_path: Path, prepared: Path) -> None:
    (tmp_path / "runs").write_text("a file where the store should be")
    done = subprocess.run(
        _command(_job(tmp_path, prepared, RUNS), tmp_path), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 4
    assert "a file lies where a folder is needed" in done.stderr
    assert "Traceback" not in done.stderr


def test_wall_times_are_kept_apart_from_results(tmp_path: Path, prepared: Path) -> None:
    jobs.train_job(_job(tmp_path, prepared, RUNS), _space(tmp_path), workers=1)
    times = [files.read_json(path) for path in (tmp_path / "timings").glob("*.json")]
    assert sorted(name for record in times for name in record["runs"]) == sorted(
        path.name for path in (tmp_path / "runs").glob("[!.]*")
    )
    assert all(record["seconds"] > 0 for record in times)
    assert b"seconds" not in b"".join(_contents(tmp_path).values())
