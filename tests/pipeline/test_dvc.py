"""Use of DVC: remotes, experiments that train only new runs, and messages about missing files."""

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from bnbench.store.run_record import conclude
from tests.support.miniature import Project, belongs, locked, miniature, trained

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of moto and boto3

SEED = "studies.S.grid.product.seed"


@pytest.fixture(scope="module")
def _base(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return the miniature, built by plain `snakemake` and added to DVC afterwards."""
    project = miniature(tmp_path_factory.mktemp("dvc") / "project")
    assert trained(project.run("snakemake --cores 2")) == 4
    project.run("dvc commit --force")
    project.commit()
    locked(project)
    return project


@pytest.fixture
def base(_base: Project, tmp_path: Path) -> Project:
    """Return a copy of the miniature to work in."""
    shutil.copytree(_base.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


@pytest.fixture
def s3() -> Iterator[str]:
    """Yield the address of an S3 server with a bucket named `results`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket="results")
    yield address
    server.stop()


def test_runs_of_plain_snakemake_go_to_s3_and_come_back_elsewhere(base: Project, s3: str) -> None:
    base.run("dvc remote add --default cloud s3://results/store")
    base.run("dvc remote modify cloud endpointurl", s3)
    base.commit()
    assert "files pushed" in base.run("dvc push")
    other = Project(base.folder.with_name("other"))
    base.run("git clone --quiet .", str(other.folder))
    other.run("dvc pull")
    assert other.outputs() == base.outputs()
    assert other.stored() == base.stored()
    assert trained(other.run("dvc repro")) == 0
    assert "Nothing to be done" in other.run("snakemake -n")
    belongs(other)


def test_an_experiment_in_a_folder_of_its_own_trains_what_is_new(base: Project) -> None:
    before = base.outputs()
    told = base.run("dvc exp run --temp --name seeds", "--set-param", f"{SEED}=[0,1,2]")
    assert trained(told) == 2
    assert base.outputs() == before
    told = base.run("dvc exp run --name rates", "--set-param", "studies.S.grid.product.learning_rate=[0.1,1e-2]")
    assert trained(told) == 4
    belongs(base)
    locked(base)
    rows = list(csv.DictReader(base.run("dvc exp show --csv --only-changed --no-pager").splitlines()))
    runs = {row["Experiment"] or row["rev"]: row["runs"] for row in rows}
    assert runs == {"workspace": "8", "master": "4", "seeds": "6", "rates": "8"}
    base.run("dvc exp apply seeds")
    belongs(base)


def test_queued_experiments_train_what_is_new(base: Project) -> None:
    base.run("dvc exp run --queue --name one", "--set-param", f"{SEED}=[0,1,2]")
    base.run("dvc exp run --queue --name two", "--set-param", f"{SEED}=[0]")
    base.run("dvc exp run --run-all")
    assert [trained(base.run(f"dvc queue logs {name}")) for name in ("one", "two")] == [2, 0]
    table = json.loads(base.run("dvc exp show --json"))
    found = [one for rev in table for one in rev["experiments"] or []]
    runs = {one["name"]: one["revs"][0]["data"]["metrics"]["results/metrics.json"]["data"]["runs"] for one in found}
    assert runs == {"one": 6, "two": 2}


def test_numbers_and_plots_are_compared_between_commits(base: Project) -> None:
    base.edit("seed: [0, 1]\n", "seed: [0, 1, 2]\n")
    base.run("dvc repro")
    changes = json.loads(base.run("dvc metrics diff --json"))["results/metrics.json"]
    assert changes["runs"] == {"old": 4, "new": 6, "diff": 2}
    assert {"studies.S.test_accuracy.batch", "studies.S.test_accuracy.none"} <= changes.keys()
    plots = json.loads(base.run("dvc plots diff HEAD --json"))["data"]
    assert set(plots) == {"results/tables/curves.csv", "training_loss", "results/tables/summary.csv"}
    for (plot,) in plots.values():
        points = plot["content"]["data"]["values"]
        assert {point["rev"] for point in points} == {"HEAD", "workspace"}
        assert {point["norm"] for point in points} == {"none", "batch"}
        content = plot["content"]
        panel_or_line = content["facet"] if "facet" in content else content["encoding"]["y"]
        assert panel_or_line["field"] == "study"
    assert "index.html" in base.run("dvc plots show")


def test_what_is_missing_or_damaged_is_named(base: Project) -> None:
    assert "no remote" in base.run("bnbench doctor")
    told = base.run("dvc push", code=1)
    assert "no remote specified" in told
    cached = sorted(path for path in base.folder.glob(".dvc/cache/files/md5/*/*") if path.suffix != ".dir")[0]
    content = bytearray(cached.read_bytes())
    content[0] ^= 1
    cached.chmod(0o644)
    cached.write_bytes(content)
    cached.chmod(0o444)
    told = base.run("bnbench doctor", code=1)
    assert f"{cached.relative_to(base.folder)} in DVC's cache is damaged" in told
    assert "1 faults" in told
    (base.folder / "results" / "tables" / "history.csv").unlink()
    assert "history.csv is missing, which dvc.lock names" in base.run("bnbench doctor", code=1)
    assert trained(base.run("snakemake --cores 2")) == 0
    belongs(base)


def test_a_half_pulled_clone_is_not_taken_for_whole(base: Project) -> None:
    base.run("dvc remote add --default store", str(base.folder.with_name("remote")))
    base.commit()
    base.run("dvc push")
    clone = Project(base.folder.with_name("clone"))
    base.run("git clone --quiet .", str(clone.folder))
    assert "results/runs is missing, which dvc.lock names" in clone.run("bnbench doctor", code=1)
    clone.run("dvc pull train tables")
    one, two = sorted((clone.folder / "results" / "runs").glob("[!.]*"))[:2]
    shutil.rmtree(one)
    (two / "history.json").unlink()
    told = clone.run("bnbench doctor", code=1)
    assert f"{one.relative_to(clone.folder)}/history.json is missing, which dvc.lock names" in told
    assert f"there is no {two.relative_to(clone.folder)}/history.json" in told
    assert "dvc pull results/runs" in told
    told = clone.run("snakemake --cores 2", code=1)
    assert f"there is no results/runs/{two.name}/history.json" in told
    assert f"Delete the folder results/runs/{two.name} and start again" in told
    assert not list((clone.folder / "results" / "tables").glob("identity-*"))
    shutil.rmtree(two)
    assert trained(clone.run("snakemake --cores 2")) == 1
    assert clone.stored() == base.stored()
    assert clone.outputs() == base.outputs()


def test_what_the_remote_lacks_is_named(base: Project) -> None:
    base.run("dvc remote add --default store", str(base.folder.with_name("remote")))
    base.commit()
    base.run("dvc push")
    lost = hashlib.md5((base.folder / "results" / "tables" / "runs.csv").read_bytes()).hexdigest()
    (base.folder.with_name("remote") / "files" / "md5" / lost[:2] / lost[2:]).unlink()
    clone = Project(base.folder.with_name("clone"))
    base.run("git clone --quiet .", str(clone.folder))
    assert f"failed to transfer '{lost}'" in clone.run("dvc pull", code=1)
    assert not list(clone.folder.glob("results/tables/*.csv"))
    clone.run("dvc pull train")
    assert trained(clone.run("snakemake --cores 2")) == 0
    assert clone.outputs() == base.outputs()


def test_two_at_once_are_told_of_each_other(base: Project) -> None:
    base.edit("seed: [0, 1]\n", "seed: [0, 1]\n      include: [{norm: [batch], epochs: [50000], seed: [0]}]\n")
    records, stored = base.folder / "results" / "provenance", base.stored()
    before = len(list(records.iterdir()))
    with subprocess.Popen(
        ["dvc", "repro"],
        cwd=base.folder,
        env=base.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as first:
        try:
            end = time.monotonic() + 300
            while len(list(records.iterdir())) == before:
                assert first.poll() is None
                assert time.monotonic() < end
            told = base.run("snakemake --cores 1", code=1)
            assert "Directory cannot be locked" in told
            assert "--unlock" in told
            assert f"(PID {first.pid}): " in base.run("dvc repro", code=255)
            told = base.run("bnbench doctor")
            assert "snakemake is running here (process " in told
            assert f"dvc repro is running here (process {first.pid})" in told
            assert first.poll() is None
        finally:
            os.killpg(first.pid, signal.SIGKILL)
    assert base.stored() == stored


def test_a_run_of_another_trainers_version_is_in_no_table(base: Project) -> None:
    path = sorted((base.folder / "results" / "runs").glob("[!.]*"))[0] / "run.json"
    record = json.loads(path.read_text())
    path.unlink()
    conclude(path.parent, {key: value for key, value in record.items() if key != "digest"} | {"trainer_version": 99})
    (base.folder / "results" / "tables" / "runs.csv").unlink()
    told = base.run("snakemake --cores 2", code=1)
    assert f"run {path.parent.name} in the run store cannot be used" in told
    assert "and trainer version 99 are those of run" in told
    assert f"Delete the folder results/runs/{path.parent.name} and start again" in told
    assert not list((base.folder / "results" / "tables").glob("identity-*"))
    assert "and trainer version 99 are those of run" in base.run("bnbench doctor", code=1)


def test_a_cache_that_cannot_be_written_is_named(base: Project) -> None:
    nowhere = base.folder / "results" / "metrics.json" / "cache"  # below a file: not even root may write there
    base.run("dvc config --local cache.dir", str(nowhere))
    assert str(nowhere) in base.run("dvc commit --force", code=255)
    assert f"DVC's cache {nowhere} cannot be written" in base.run("bnbench doctor", code=1)
    assert "Nothing to be done" in base.run("snakemake -n")


def test_without_git_snakemake_works_and_dvc_is_told_how(base: Project) -> None:
    shutil.rmtree(base.folder / ".git")
    assert "Nothing to be done" in base.run("snakemake -n")
    assert "dvc config --local core.no_scm true" in base.run("bnbench doctor")
    base.run("dvc config --local core.no_scm true")
    assert trained(base.run("dvc repro")) == 0
    assert "up to date" in base.run("dvc status")
