"""Packs as Slurm jobs: number, time and memory; job states passed to Snakemake's plugin."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bnbench.cluster import sacct
from bnbench.cluster.jobs import Cluster
from bnbench.cluster.site_file import Site
from bnbench.core import files
from bnbench.core.errors import UserError
from bnbench.params.config import Config
from bnbench.plan import cost
from bnbench.plan.packs import PackRecord, read_packs
from bnbench.workflow import Workflow
from tests.support.little import ROOT, run

SITE = """
target_minutes: 10
max_jobs: 40
account: lab
options: --qos=long
cpu: {partition: batch, minutes: 300, cpus: 4, mem_mb: 8000}
cuda: {partition: gpu, minutes: 300, cpus: 2, mem_mb: 20000, gpu: a100, speed: 20}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(SITE)
    return path


def _cluster(site: Path, device: str = "cpu", **config: Any) -> Cluster:
    cluster = Cluster.read(Config(site=str(site), device=device, **config), site.parent / "timings")
    assert cluster
    return cluster


def _packs(seconds: list[float], memory: float = 400) -> list[PackRecord]:
    return [
        PackRecord.of({f"{i:016x}": run(seed=i)}, "data", length, memory=memory) for i, length in enumerate(seconds)
    ]


def test_every_pack_is_in_one_job_and_jobs_are_about_as_long_as_the_target(site: Path) -> None:
    packs = _packs([20 + 7 * (i % 13) for i in range(500)])
    jobs = _cluster(site).jobs(packs)
    assert sorted(pack.id for job in jobs for pack in job) == sorted(pack.id for pack in packs)
    lengths = [sum(pack.seconds for pack in job) / 4 for job in jobs]
    assert len(jobs) == math.ceil(sum(lengths) / 600)
    assert all(abs(length - sum(lengths) / len(jobs)) <= 104 / 4 for length in lengths)


def test_beyond_the_largest_number_of_jobs_they_get_longer(site: Path) -> None:
    assert len(_cluster(site).jobs(_packs([3000.0] * 400))) == 40
    assert len(_cluster(site, target_minutes=1).jobs(_packs([30.0] * 40))) == 5


def test_packs_of_similar_memory_share_a_job(site: Path) -> None:
    packs = _packs([600.0] * 8, 400) + [
        PackRecord.of({f"{i:x}": run(seed=i)}, "data", 600, memory=1500) for i in range(90, 98)
    ]
    memories = [{pack.memory for pack in job} for job in _cluster(site).jobs(packs)]
    assert memories == [{1500}, {1500}, {400}, {400}]


def test_time_and_memory_grow_by_attempt_up_to_the_limit(site: Path) -> None:
    cluster = _cluster(site)
    packs = _packs([600.0] * 8, 500)
    minutes = [cluster.minutes(packs, attempt) for attempt in (1, 2, 3, 50)]
    # two packs in turn on each of four cores, half as long again, plus the time of the warning before the limit
    assert minutes[0] == math.ceil(2 + 1.5 * (1200 + cost.START_SECONDS) / 60 + 1 + 2)
    assert minutes == sorted(minutes)
    assert minutes[1] > 1.8 * minutes[0]
    assert minutes[-1] == 300
    memory = [cluster.mem_mb(packs, attempt) for attempt in (1, 2, 50)]
    assert 4 * 500 < memory[0] < 2 * 4 * 500
    assert memory[1] == pytest.approx(2 * memory[0], abs=2)
    assert memory[2] == 8000


def test_a_gpu_takes_packs_one_after_the_other_at_the_speed_of_the_site_file(site: Path) -> None:
    packs = _packs([6000.0] * 4, 500)
    assert _cluster(site, "cuda").minutes(packs) == math.ceil(2 + 1.5 * (4 * 6000 / 20 + cost.START_SECONDS) / 60 + 3)


def test_measured_times_take_precedence_over_the_speed_in_the_site_file(site: Path) -> None:
    for name, ratio in (("a", 0.5), ("b", 0.25), ("c", 0.3)):
        record = {"runs": [], "seconds": ratio * 10, "estimated": 10, "cpu": "another", "device": "cuda"}
        files.write_json(site.parent / "timings" / f"{name}.json", record)
    assert _cluster(site, "cuda").factor == pytest.approx(0.3)
    assert _cluster(site, "cpu").factor == 1


@pytest.mark.parametrize(
    ("seconds", "memory", "words"),
    [
        (20000, 400, "gives a job 300 minutes, a pack needs 50"),
        (60, 9000, "gives a job 8000 MB of memory, a pack needs"),
    ],
)
def test_a_pack_too_large_for_a_job_is_named_with_the_remedy(
    site: Path, seconds: float, memory: float, words: str
) -> None:
    with pytest.raises(UserError, match=words) as caught:
        _cluster(site).check(_packs([30.0, seconds], memory))
    assert "1 runs of 64-100-100-10, batch 64, 8 epochs" in str(caught.value)
    assert "raise" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("max_jobs: 40", "max_jobs: none", r"site.yaml:3: max_jobs: .*whole number"),
        ("cpus: 4", "cpu: 4", r"site.yaml:6: cpu.cpu: .*did you mean 'cpus'"),
        ("cpu: {", "cpus: {", r"site.yaml:6: cpus: .*did you mean 'cpu'"),
    ],
)
def test_an_error_in_the_site_file_is_reported_with_its_line(site: Path, old: str, new: str, words: str) -> None:
    site.write_text(SITE.replace(old, new, 1))
    with pytest.raises(UserError, match=words):
        _cluster(site)


def test_a_device_without_a_partition_is_refused(site: Path) -> None:
    site.write_text(SITE[: SITE.index("cuda:")])
    with pytest.raises(UserError, match="no partition for device 'cuda'; add `cuda:`"):
        _cluster(site, "cuda")


def test_the_site_file_of_the_profiles_is_valid() -> None:
    for device in ("cpu", "cuda"):
        assert _cluster(ROOT / "workflow" / "profiles" / "site.yaml", device).site == Site.model_validate(
            _cluster(ROOT / "workflow" / "profiles" / "site.yaml").site.model_dump()
        )


def test_a_job_of_the_workflow_requests_what_its_packs_need(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    flow = Workflow(ROOT / "params.yaml", {"site": str(site), "target_minutes": 0.05}, root=tmp_path)
    marks = flow.trained(None)
    assert len(marks) > 1
    assert flow.trained(None) == marks
    jobs = [read_packs(Path(mark).with_suffix(".json")) for mark in marks]
    assert sorted(name for job in jobs for pack in job for name in pack.runs) == sorted(flow.plan.runs)
    asked = flow.resources
    assert asked["slurm_partition"] == "batch"
    assert asked["slurm_account"] == "lab"
    assert asked["slurm_extra"] == "--signal=TERM@120 --qos=long"
    assert "gpu" not in asked
    job = SimpleNamespace(job=Path(marks[0]).stem)
    assert asked["runtime"](job, 1) == flow.cluster.minutes(jobs[0], 1)  # type: ignore[union-attr]
    assert asked["mem_mb"](job, 2) == flow.cluster.mem_mb(jobs[0], 2)  # type: ignore[union-attr]
    gpu = Workflow(ROOT / "params.yaml", {"site": str(site), "device": "cuda"}, root=tmp_path).resources
    assert (gpu["gpu"], gpu["gpu_model"], gpu["slurm_partition"]) == (1, "a100", "gpu")


@pytest.mark.parametrize(
    ("line", "reported"),
    [
        ("7|RUNNING|None", ("RUNNING", "None")),
        ("7|COMPLETED|None", ("COMPLETED", "None")),
        ("7|CANCELLED|None", ("CANCELLED", "None")),
        ("7|PREEMPTED|None", ("FAILED", "it was preempted by another job")),
        ("7|NODE_FAIL|NodeDown", ("FAILED", "its node was lost")),
        ("7|PENDING|Priority", ("PENDING", "Priority")),
        ("7|PENDING|PartitionTimeLimit", ("FAILED", "it could never start: PartitionTimeLimit")),
    ],
)
def test_no_state_makes_the_plugin_wait_for_ever(line: str, reported: tuple[str, str]) -> None:
    assert sacct.judge(sacct.parse(line), {}) == {"7": reported}


def test_a_job_unknown_to_slurm_failed_unless_it_was_seen_to_finish() -> None:
    known = {"1": ("RUNNING", "None"), "2": ("COMPLETED", "None"), "3": ("PENDING", "Priority")}
    reported = sacct.judge(sacct.parse("3|RUNNING|None\n"), known)
    assert reported["1"] == ("FAILED", "Slurm no longer knows it")
    assert reported["2"] == ("COMPLETED", "None")
    assert reported["3"] == ("RUNNING", "None")


def test_without_an_answer_from_slurm_the_plugin_repeats_the_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    squeue = tmp_path / "squeue"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    ask = [str(tmp_path), "-X", "--name", "bnbench_1"]

    def answer(script: str) -> int:
        squeue.write_text(f"#!/bin/sh\n{script}\n")
        squeue.chmod(0o755)
        return sacct.main(ask)

    assert answer("echo '7|RUNNING|None'") == 0
    assert answer("exit 1") == 1
    assert capsys.readouterr().out == "7|RUNNING\n"
    assert answer("true") == 0
    assert capsys.readouterr().out == "7|FAILED\n"
    assert sacct.main([str(tmp_path), "-j", "7.0", "--format=Reason"]) == 0
    assert capsys.readouterr().out == "Slurm no longer knows it\n"
