"""The memory used respects the limit of a container, a cluster's job or `ulimit`."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from bnbench.core import machine
from bnbench.core.files import write_json
from bnbench.data import prepared
from bnbench.data.manifest import MANIFEST, seal
from bnbench.plan.identity import run_id
from bnbench.plan.packs import PackRecord, write_packs
from tests.support.little import run
from tests.support.shell import contents

BNBENCH = Path(sys.executable).with_name("bnbench")
COUNTS = {"train": 60_000, "valid": 1000, "test": 1000}
FIVE_HUNDRED = 500 * 2**20
MOUNTS = {
    "v2": "30 23 0:26 {top} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw,nsdelegate",
    "v1": "35 31 0:32 {top} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "36 31 0:33 {top} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
}
GROUPS = {"v2": "0::{path}", "v1": "9:name=systemd:/\n4:memory:{path}\n3:cpu,cpuacct:{path}\n0::/"}


def made_up(root: Path, version: str, path: str, files: dict[str, str], top: str = "/") -> Path:
    """Write a fake root with this process in control group `path`, in a hierarchy whose visible root is group `top`."""
    texts = {"proc/self/cgroup": GROUPS[version].format(path=path), "proc/self/mountinfo": MOUNTS[version]}
    texts["proc/self/mountinfo"] = texts["proc/self/mountinfo"].format(top=top)
    for name, text in (texts | {f"sys/fs/cgroup/{name}": text for name, text in files.items()}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("version", "path", "files"),
    [
        ("v2", "/a/b", {"a/b/memory.max": str(FIVE_HUNDRED)}),
        ("v2", "/a/b", {"a/b/memory.max": "max", "a/memory.max": str(FIVE_HUNDRED), "memory.max": "max"}),
        ("v2", "/a", {"a/memory.max": str(2 * FIVE_HUNDRED), "a/memory.high": str(FIVE_HUNDRED)}),
        ("v1", "/a/b", {"memory/a/b/memory.limit_in_bytes": str(FIVE_HUNDRED)}),
        ("v1", "/a/b", {"memory/a/memory.limit_in_bytes": str(FIVE_HUNDRED)}),
    ],
)
def test_the_least_limit_of_a_group_and_those_above_it_counts(
    tmp_path: Path, version: str, path: str, files: dict[str, str]
) -> None:
    found = machine.memory(made_up(tmp_path, version, path, files))
    assert found.mib == 500
    assert any(name in found.by for name in files)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(("path", "top"), [("/docker/x", "/docker/x"), ("/", "/"), ("/../y", "/"), ("/docker/x", "/z")])
def test_a_container_that_sees_its_own_group_as_the_top_is_limited(
    tmp_path: Path, version: str, path: str, top: str
) -> None:
    files = {"v2": {"memory.max": str(FIVE_HUNDRED)}, "v1": {"memory/memory.limit_in_bytes": str(FIVE_HUNDRED)}}
    assert machine.memory(made_up(tmp_path, version, path, files[version], top)).mib == 500


@pytest.mark.parametrize("text", ["max", "9223372036854771712", "", "nonsense"])
def test_without_a_limit_the_machines_memory_counts(tmp_path: Path, text: str) -> None:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    assert machine.memory(made_up(tmp_path, "v2", "/a", {"a/memory.max": text})).mib == whole
    assert machine.memory(tmp_path / "nothing").mib == whole


@pytest.mark.parametrize(
    ("version", "files", "cores"),
    [
        ("v2", {"a/cpu.max": "150000 100000"}, 2),
        ("v2", {"a/cpu.max": "max 100000", "cpu.max": "50000 100000"}, 1),
        ("v1", {"cpu,cpuacct/a/cpu.cfs_quota_us": "20000", "cpu,cpuacct/a/cpu.cfs_period_us": "20000"}, 1),
        ("v1", {"cpu,cpuacct/a/cpu.cfs_quota_us": "-1"}, 2**20),
        ("v2", {}, 2**20),
    ],
)
def test_a_quota_of_processor_time_is_a_number_of_cores(
    tmp_path: Path, version: str, files: dict[str, str], cores: int
) -> None:
    root = made_up(tmp_path, version, "/a", files)
    assert machine.quota(root) == cores
    assert machine.cores(root) == min(cores, len(os.sched_getaffinity(0)))


def test_as_many_workers_as_fit_train_at_a_time_and_one_always(tmp_path: Path) -> None:
    root = made_up(tmp_path, "v2", "/a", {"a/memory.max": str(1300 * 2**20)})
    assert machine.fitting([450.0] * 9, 8, root) == 2
    assert machine.fitting([900.0, 50.0, 50.0], 3, root) == 3
    assert machine.fitting([5000.0, 50.0], 2, root) == 1
    assert machine.fitting([], 2, root) == 1
    assert machine.share(2, root) == 500
    (told,) = machine.lowered([700.0] * 3, 2, root)
    assert told.startswith(
        "1 of 2 workers at a time, for memory: a pack takes up to 700 MiB, and all together may use 1,300"
    )
    assert not list(machine.lowered([300.0] * 3, 2, root))


@pytest.mark.parametrize(("flag", "kind"), [("-v", "RLIMIT_AS"), ("-d", "RLIMIT_DATA")])
def test_a_limit_of_the_process_is_a_workers_share(flag: str, kind: str) -> None:
    code = (
        f"import resource; resource.setrlimit(resource.{kind}, (2**30, 2**30))\n"
        "from bnbench.core import machine; print(machine.share(1), machine.memory_of_a_process().by)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split(" ", 1)
    assert float(told[0]) == (1024 if flag == "-d" else 1024 - machine.MAPPED_MIB)
    assert told[1].strip() == f"by ulimit {flag}"
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


@pytest.fixture
def limited() -> Iterator[Path]:
    """Yield a real control group limited to 1,000 MiB; skip the test where none can be created."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = {line.split(":")[1]: line.split(":")[2] for line in lines}
    v1 = "memory" in own
    folder = Path(f"/sys/fs/cgroup/{'memory' if v1 else ''}{own['memory' if v1 else '']}/bnbench-test-{os.getpid()}")
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group may be made here: {error}")
    try:
        try:
            (folder / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(1000 * 2**20))
        except OSError as error:
            pytest.skip(f"no memory may be limited here: {error}")
        yield folder
    finally:
        folder.rmdir()


def _job(folder: Path) -> Path:
    """Write a job of two packs, each with one run on 60,000 images of 28 x 28, which takes about 700 MiB."""
    dice = np.random.default_rng(0)
    x, y = dice.integers(0, 256, (60_000, 1, 28, 28), dtype=np.uint8), dice.integers(0, 10, 60_000)
    (folder / "many").mkdir()
    parts: dict[str, dict[str, Any]] = {
        part: {"images": x[:count], "labels": y[:count]} for part, count in COUNTS.items()
    }
    sums: dict[str, dict[str, Any]] = {
        part: {"n": len(arrays["labels"])}
        | {
            f"{name}_sha256": prepared.save(folder / "many" / prepared.file_name(part, name), a)
            for name, a in arrays.items()
        }
        for part, arrays in parts.items()
    }
    said = {"title": "Many", "licence": "free", "format": "idx", "sources": {}}
    about = said | {"name": "many", "fingerprint": "0" * 16, "classes": 10, "shape": [1, 28, 28], "parts": sums}
    write_json(folder / "many" / MANIFEST, seal(about))
    runs = [run(model="784-100-10", norm="none", seed=seed, batch_size=1000, epochs=4) for seed in range(2)]
    packs = [PackRecord.of({run_id(one, "0" * 16): one}, str(folder / "many"), 1.0, memory=700.0) for one in runs]
    write_packs(folder / "job.json", packs)
    return folder / "job.json"


@pytest.mark.slow
def test_in_a_small_container_a_job_of_two_workers_ends_with_all_its_runs(limited: Path, tmp_path: Path) -> None:
    job = _job(tmp_path)
    command = [str(BNBENCH), "train", str(job), "--out", "runs", "--timings", "timings", "--workers", "2"]
    enter = f'echo $$ > {limited}/cgroup.procs && exec "$@"'
    done = subprocess.run(
        ["sh", "-c", enter, "sh", *command], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("1 of 2 workers at a time, for memory: a pack takes up to 700 MiB") == 1
    assert len([path for path in contents(tmp_path / "runs") if path.endswith("run.json")]) == 2


def test_a_worker_that_is_killed_is_told_with_the_memory_there_is_and_what_to_do(tmp_path: Path) -> None:
    command = [str(BNBENCH), "train", str(_job(tmp_path)), "--out", "runs", "--timings", "timings", "--workers", "2"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        deadline = time.monotonic() + 60
        while not (workers := psutil.Process(process.pid).children()) and time.monotonic() < deadline:
            time.sleep(0.02)
        workers[0].kill()
        assert process.stderr
        told = process.stderr.readline()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert (
        f"a worker was killed, as the system does when memory is used up: all together may use {machine.memory()}"
        in told
    )
    assert "snakemake --cores 1" in told
    assert "bnbench train --workers 1" in told
