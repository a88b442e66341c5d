"""The pipeline on a real Slurm cluster of three nodes: the same bytes as on one machine, despite failing jobs."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnbench.core.identities import MACHINE
from tests.support.little import ROOT
from tests.support.slurm.cluster import Cluster, missing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.slurm,
    pytest.mark.skipif(bool(missing()), reason=f"not here: {', '.join(missing())}"),
    pytest.mark.skipif(not importlib.util.find_spec("snakemake_executor_plugin_slurm"), reason="no bnbench[slurm]"),
]

STUDIES = """
studies:
  A1:
    title: Little
    question: Does it survive?
    work: A
    base: {model: 64-200-200-10, batch_size: 8, epochs: 400, keep_weights: best}
    grid: {product: {norm: [none, batch], seed: [0, 1]}}
    figures: {}
"""
SITE = """
target_minutes: 0.01
warning_seconds: 60
cpu: {partition: cpu, minutes: 60, cpus: 2, mem_mb: 6000}
cuda: {partition: gpu, minutes: 60, cpus: 2, mem_mb: 6000, speed: 10}
"""
RUNS = 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="slurm"))
    folder.chmod(0o755)  # munge requires its socket's folder to be accessible to everyone, unlike pytest's
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder)


_started: "list[subprocess.Popen[str]]" = []


@pytest.fixture(autouse=True)
def _all_up(cluster: Cluster) -> Iterator[None]:
    yield
    while _started:
        process = _started.pop()
        process.kill()
        process.wait(10)
    cluster.start_controller()
    cluster.ask("scancel", "--user", "root")
    cluster.start()


def _copy(folder: Path) -> Path:
    """Create a copy of the project with four runs of some seconds each, in two packs."""
    folder.mkdir()
    shutil.copytree(ROOT / "workflow", folder / "workflow")
    text = (ROOT / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text[: text.index("\nstudies:\n")] + STUDIES)
    (folder / "workflow" / "profiles" / "site.yaml").write_text(SITE)
    return folder


def _slow(project: Path, epochs: int) -> None:
    """Lengthen the runs: more epochs of wider layers."""
    params = (project / "params.yaml").read_text()
    params = params.replace("model: 64-200-200-10", "model: 64-600-600-10").replace("epochs: 400", f"epochs: {epochs}")
    (project / "params.yaml").write_text(params)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return _copy(tmp_path / "project")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the tables as computed on one machine."""
    folder = _copy(tmp_path_factory.mktemp("local") / "project")
    _make(folder)
    return _tables(folder)


def _make(folder: Path) -> None:
    """Build the tables on this machine."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "tables"]
    done = subprocess.run(command, cwd=folder, env=_path(dict(os.environ)), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr


def _path(environment: dict[str, str]) -> dict[str, str]:
    return environment | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"}


def _tables(folder: Path) -> dict[str, bytes]:
    names = ("runs.csv", "history.csv", "summary.csv", "runs.parquet", "history.parquet")
    return {name: (folder / "results" / "tables" / name).read_bytes() for name in names}


def _start(cluster: Cluster, project: Path, *more: str, profile: str = "slurm") -> "subprocess.Popen[str]":
    launcher = str(ROOT / "tests" / "support" / "slurm" / "quickly.py")
    options = ["--profile", f"workflow/profiles/{profile}", "--slurm-init-seconds-before-status-checks", "1"]
    command = [sys.executable, launcher, "tables", *options, "--slurm-keep-successful-logs", *more]
    with (project / "out").open("a") as out:
        started = subprocess.Popen(
            command, cwd=project, env=_path(cluster.environment), text=True, stdout=out, stderr=out
        )
    _started.append(started)
    return started


def _end(process: "subprocess.Popen[str]", project: Path, code: int = 0, seconds: float = 400) -> str:
    """Wait for a process, check its exit code, and return its output."""
    try:
        process.wait(seconds)
    finally:
        process.kill()
        told = (project / "out").read_text()
    assert process.returncode == code, told
    assert "Traceback" not in told
    return told


def _training(cluster: Cluster, project: Path, jobs: int) -> dict[str, dict[str, str]]:
    """Wait until this many jobs train and return the running jobs."""
    saved = project / ".bnbench" / "slurm" / "logs"

    def begun() -> bool:
        logs = [path for path in saved.rglob("*.log") if "localrule train" in path.read_text()]
        return len(logs) >= jobs and (project / "results" / "runs" / ".locks").exists()

    cluster.wait(begun, f"{jobs} jobs to train", 200)
    return cluster.jobs("running")


def _trained(project: Path) -> int:
    """Return the number of runs that all jobs and their resubmissions trained to the end."""
    texts = [path.read_text() for path in (project / ".bnbench" / "slurm" / "logs").rglob("*.log")]
    lines = [line for text in texts for line in text.splitlines() if " runs: " in line and line[0].isdigit()]
    return sum(int(line.split(" runs:")[0]) for line in lines)


def _whole(project: Path, expected: dict[str, bytes]) -> None:
    assert _tables(project) == expected
    assert _trained(project) == RUNS


def test_two_jobs_give_the_bytes_of_one_machine(cluster: Cluster, project: Path, expected: dict[str, bytes]) -> None:
    process = _start(cluster, project)
    running = _training(cluster, project, 2)
    assert len(running) == 2
    assert {job["partition"] for job in running.values()} == {"cpu"}
    _end(process, project)
    _whole(project, expected)
    told = _end(_start(cluster, project), project)
    assert "Nothing to be done" in told


def test_a_cancelled_job_goes_on(cluster: Cluster, project: Path, expected: dict[str, bytes]) -> None:
    process = _start(cluster, project)
    cancelled = next(iter(_training(cluster, project, 2)))
    cluster.ask("scancel", cancelled)
    _end(process, project)
    assert cluster.jobs()[cancelled]["state"] == "CANCELLED"
    _whole(project, expected)


@pytest.mark.parametrize("how", ["power cut", "set down"])
def test_a_lost_node_loses_no_run(cluster: Cluster, project: Path, expected: dict[str, bytes], how: str) -> None:
    process = _start(cluster, project)
    node = next(iter(_training(cluster, project, 2).values()))["node"]
    if how == "power cut":
        cluster.kill(node)
    else:
        cluster.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    _end(process, project)
    _whole(project, expected)


def test_a_job_at_its_time_limit_saves_and_goes_on(cluster: Cluster, project: Path) -> None:
    _slow(project, epochs=800)  # Slurm checks time limits every 30 s
    process = _start(cluster, project)
    for job in _training(cluster, project, 2):
        cluster.ask("scontrol", "update", f"JobId={job}", "TimeLimit=1")
    told = _end(process, project, seconds=900)
    logs = [path.read_text() for path in (project / ".bnbench" / "slurm" / "logs").rglob("*.log")]
    assert any(re.search("resumes? from there", text) for text in logs), told
    assert _trained(project) == RUNS
    assert _tables(project)["runs.csv"].count(b'"ok"') == RUNS


def test_a_preempted_job_is_submitted_again(cluster: Cluster, project: Path, expected: dict[str, bytes]) -> None:
    process = _start(cluster, project)
    running = _training(cluster, project, 2)
    urgent = cluster.ask(
        "sbatch", "--parsable", "-p", "urgent", "-c2", "-N2", "--mem=3000", "--output=/dev/null", "--wrap", "sleep 1"
    ).strip()
    _end(process, project)
    assert cluster.jobs()[urgent]["state"] == "COMPLETED"
    assert any(cluster.jobs()[job]["state"] == "PREEMPTED" for job in running)
    _whole(project, expected)


def test_a_controller_away_is_waited_for(cluster: Cluster, project: Path) -> None:
    _slow(project, epochs=300)
    process = _start(cluster, project)
    _training(cluster, project, 2)
    saved, since = cluster.run / "state" / "job_state", time.time()
    cluster.wait(lambda: saved.stat().st_mtime > since, "the controller to note that the jobs run", 60)
    cluster.kill("slurmctld")
    store = project / "results" / "runs"
    assert len(list(store.glob("*/run.json"))) < RUNS
    cluster.wait(lambda: len(list(store.glob("*/run.json"))) == RUNS, "the jobs, which go on", 300)
    assert process.poll() is None
    cluster.start_controller()
    _end(process, project)
    assert _trained(project) == RUNS
    assert _tables(project)["runs.csv"].count(b'"ok"') == RUNS


def test_a_killed_snakemake_started_again_takes_over(
    cluster: Cluster, project: Path, expected: dict[str, bytes]
) -> None:
    process = _start(cluster, project)
    left = _training(cluster, project, 2)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    told = _end(_start(cluster, project), project)
    assert all(job in told.split("cancelling jobs of an earlier start")[1].splitlines()[0] for job in left)
    _whole(project, expected)


def test_two_at_once_in_one_folder_are_refused(cluster: Cluster, project: Path) -> None:
    first = _start(cluster, project)
    _training(cluster, project, 1)
    again = _start(cluster, project)
    again.wait(200)
    assert again.returncode == 1
    assert "another snakemake submits jobs from this folder" in (project / "out").read_text()
    assert first.poll() is None
    first.send_signal(signal.SIGINT)
    first.wait(200)


def test_a_gpu_pack_asks_for_a_gpu_gets_it_and_refuses_to_train_without(cluster: Cluster, project: Path) -> None:
    told = _end(_start(cluster, project, "--retries", "0", profile="slurm-gpu"), project, code=1)
    job = max(cluster.jobs(), key=int)
    assert cluster.jobs()[job]["partition"] == "gpu"
    assert "gpu:1" in cluster.ask("scontrol", "show", "job", job)
    (log, *_) = (project / ".bnbench" / "slurm" / "logs").rglob("*.log")
    assert "cuda is requested, but torch" in log.read_text(), told
    assert "CUDA_VISIBLE_DEVICES is '0'" in log.read_text()
    assert not (project / "results" / "runs").exists()


@pytest.mark.parametrize(
    ("profile", "old", "new", "words"),
    [
        ("slurm", "partition: cpu,", "partition: nowhere,", ["cpu: partition: Slurm would refuse", "sinfo -s"]),
        ("slurm", "partition: cpu,", "partition: closed,", ["account: Slurm would refuse", "null asks for none"]),
        ("slurm", "{partition: cpu, minutes: 60, cpus: 2", "{partition: cpu, minutes: 60, cpus: 3",
            ["cpu: Slurm would refuse", "sinfo -o"]),
        ("slurm", "minutes: 60, cpus: 2", "minutes: 1, cpus: 2",
            ["gives a job 1 minutes, a pack needs", "raise minutes"]),
        ("slurm", "mem_mb: 6000}\ncuda", "mem_mb: 600}\ncuda",
            ["gives a job 600 MB of memory, a pack needs", "raise mem_mb"]),
        ("slurm", "target_minutes: 0.01", "shared: [/nowhere]",
            ["the nodes see /nowhere, but not", "move the project"]),
        ("slurm", "partition: cpu,", "partitoin: cpu,", ["site.yaml:4: cpu.partitoin", "did you mean 'partition'?"]),
        ("slurm-gpu", "partition: gpu,", "partition: cpu,",
            ["cuda: gpu: Slurm would refuse", "partition cpu has no GPU (", "sinfo -o '%P %G'"]),
        ("slurm-gpu", "partition: gpu,", "partition: gpu, gpu: a100,", ["cuda: gpu: ", "gpu has no GPU 'a100' ("]),
        ("slurm-gpu", "partition: gpu,", "partition: nowhere,", ["cuda: partition: Slurm would refuse", "sinfo -s"]),
    ],
)  # fmt: skip
def test_what_slurm_would_refuse_is_said_before_anything_is_submitted(
    cluster: Cluster, project: Path, profile: str, old: str, new: str, words: list[str]
) -> None:
    site = project / "workflow" / "profiles" / "site.yaml"
    assert old in site.read_text()
    site.write_text(site.read_text().replace(old, new))
    before = set(cluster.jobs())
    told = _end(_start(cluster, project, profile=profile), project, code=1)
    assert all(word in told for word in words), told
    assert set(cluster.jobs()) == before
    assert not (project / "data").exists()


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no file system in memory")
def test_a_folder_in_memory_is_refused_before_anything_is_submitted(cluster: Cluster) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        before = set(cluster.jobs())
        told = _end(_start(cluster, _copy(Path(folder) / "project")), Path(folder) / "project", code=1)
    assert f"{folder}/project lies in this machine's memory (tmpfs), where no node sees it; move the project" in told
    assert set(cluster.jobs()) == before


def test_a_node_that_does_not_see_the_folder_is_told_as_the_reason(cluster: Cluster) -> None:
    project = _copy(cluster.run / "here" / "project")
    told = _end(_start(cluster, project, "--retries", "0"), project, code=1)
    assert f"it left no log, so its node does not see {project}; move the project to a shared folder" in told
    assert not (project / "results" / "runs").exists()


def test_the_quick_tier_of_two_seeds_gives_the_bytes_of_one_machine(cluster: Cluster, tmp_path: Path) -> None:
    """This tier has every study, norm, probe and augmentation, and both backends."""
    text = re.sub(r"seed: \[0, 1, 2(, 3, 4)?\]", "seed: [0, 1]", (ROOT / "params.yaml").read_text())
    folders = [_copy(tmp_path / name) for name in ("local", "cluster")]
    for folder in folders:
        (folder / "params.yaml").write_text(text)
    _make(folders[0])
    assert len((folders[0] / "results" / "tables" / "runs.csv").read_text().splitlines()) > 100
    _end(_start(cluster, folders[1], "--config", "target_minutes=1"), folders[1], seconds=900)
    assert len(cluster.jobs()) >= 2
    names = [path.name for path in sorted((folders[0] / "results" / "tables").iterdir())]
    names = [name for name in names if not name.startswith(MACHINE)]  # wall times
    made = [{name: (folder / "results" / "tables" / name).read_bytes() for name in names} for folder in folders]
    assert made[0] == made[1]
