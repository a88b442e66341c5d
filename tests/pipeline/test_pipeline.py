"""The complete pipeline on a copy of the project with few runs: exactly the missing runs are trained."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.little import ROOT

pytestmark = pytest.mark.slow

SHORT = """
      quick: {base: {model: 64-16-10, epochs: 2}, grid: {product: {dropout: [0], seed: [0, 1]}}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of the project whose quick tier has four short runs."""
    copy = tmp_path / "project"
    copy.mkdir()
    for name in ("params.yaml", "dvc.yaml", "workflow"):
        source = ROOT / name
        shutil.copytree(source, copy / name) if source.is_dir() else shutil.copy(source, copy)
    text = (copy / "params.yaml").read_text()
    text = text[: text.index("\n  A2:\n")]
    start = text.index("      quick: {base: {model: 64-32-10")
    text = text[:start] + SHORT.strip("\n") + text[text.index("\n", start) :]
    text = re.sub(r"\n    claims:.*?(?=\n    \w|\Z)", "", text, flags=re.DOTALL)  # of cells that are left out here
    (copy / "params.yaml").write_text(text + "\n")
    return copy


def snakemake(project: Path, *more: str, code: int = 0) -> str:
    """Run snakemake and return its output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *more]
    done = subprocess.run(
        command, cwd=project, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False, timeout=200
    )
    told = done.stdout + done.stderr
    assert done.returncode == code, told
    return told


def trained(told: str) -> int:
    """Return the number of runs that a start trained."""
    counts = [line.split(" runs:")[0] for line in told.splitlines() if " runs: " in line and line[0].isdigit()]
    return sum(map(int, counts))


def edit(project: Path, old: str, new: str) -> None:
    path = project / "params.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def tables(project: Path) -> dict[str, bytes]:
    return {name: (project / "results" / name).read_bytes() for name in ("tables/runs.csv", "metrics.json")}


def test_only_what_is_new_is_trained_and_the_same_bytes_come_again(project: Path) -> None:
    assert trained(snakemake(project)) == 4
    first = tables(project)
    assert "Nothing to be done" in snakemake(project)
    edit(project, "seed: [0, 1]}", "seed: [0, 1, 2]}")
    assert trained(snakemake(project)) == 2
    edit(project, "title: Training and validation loss over training", "title: Loss")
    assert trained(snakemake(project)) == 0
    assert "Loss" in (project / "reports" / "report.md").read_text()
    edit(project, "seed: [0, 1, 2]}", "seed: [0, 1]}")
    assert trained(snakemake(project)) == 0
    assert tables(project) == first
    shutil.rmtree(project / ".snakemake")
    assert "Nothing to be done" in snakemake(project)
    shutil.rmtree(project / "results")
    assert trained(snakemake(project)) == 4
    assert tables(project) == first


def test_a_typing_error_ends_before_anything_starts(project: Path) -> None:
    edit(project, "norm: [none, batch]", "norm: [none, bacth]")
    told = snakemake(project, code=1)
    assert "norm[1]" in told
    assert "did you mean 'batch'?" in told
    assert "Traceback" not in told
    assert not (project / "results").exists()


def test_an_unreachable_mirror_ends_with_the_remedy(project: Path) -> None:
    edit(project, "https://ossci-datasets.s3.amazonaws.com/mnist", "http://127.0.0.1:9/mnist")
    edit(project, "https://storage.googleapis.com/cvdf-datasets/mnist", "/nowhere")
    environment = dict(os.environ)
    os.environ.pop("BNBENCH_MIRROR", None)
    try:
        told = snakemake(project, "--config", "tier=small", code=1)
    finally:
        os.environ.update(environment)
    assert "Set BNBENCH_MIRROR to a folder that holds the file" in told
    assert not (project / "results").exists()


def test_moved_images_are_made_once_shared_and_shown(project: Path) -> None:
    edit(project, "{model: 64-16-10, epochs: 2}", "{model: 64-16-10, epochs: 2, augmentation: published}")
    assert trained(snakemake(project)) == 4
    folders = list((project / "data/augmented/digits").glob("[!.]*"))
    assert [folder.name.split("-")[0] for folder in folders] == ["published"]
    assert "figures/augmentation.digits/published.svg" in (project / "reports" / "report.md").read_text()
    first = tables(project)
    assert "Nothing to be done" in snakemake(project)
    edit(project, "seed: [0, 1]}", "seed: [0, 1, 2]}")
    stamp = (folders[0] / "copies.npy").stat().st_mtime_ns
    assert trained(snakemake(project)) == 2
    assert (folders[0] / "copies.npy").stat().st_mtime_ns == stamp
    edit(project, "seed: [0, 1, 2]}", "seed: [0, 1]}")
    shutil.rmtree(project / "data")
    assert trained(snakemake(project)) == 0
    assert tables(project) == first
