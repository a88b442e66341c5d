"""A `snakemake` that cannot continue prints the message and no traceback."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline import test_pipeline
from tests.support.shell import contents, namespace, no_temporaries
from tests.support.web import CONTENT

pytestmark = pytest.mark.slow
project = test_pipeline.project  # a fixture: a copy of the project whose quick tier has four short runs


def seen(project: Path, *more: str) -> str:
    """Return the output of a start that must fail without training anything and without a traceback."""
    before = contents(project / "workflow")
    told = test_pipeline.snakemake(project, *more, code=1)
    assert "Traceback" not in told
    assert 'File "' not in told
    assert not (project / "results" / "runs").exists()
    assert contents(project / "workflow") == before
    return told


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("learning_rate: 0.1\n", "learning_rate: fast\n", "training.learning_rate: expected a number, got 'fast'"),
        ("{model: 64-16-10", "{dataset: nope, model: 64-16-10", "no data set 'nope' under datasets (defined: digits, "),
        ("{model: 64-16-10", "{model: 64-16Q-10", "    64-16Q-10\n       ^ here"),
        ("{model: 64-16-10", "{batch_size: 5000, model: 64-16-10", "a batch of 5000 is larger than the training set"),
    ],
)
def test_snakemake_shows_a_mistake_in_the_parameter_file(project: Path, old: str, new: str, message: str) -> None:
    test_pipeline.edit(project, old, new)
    told = seen(project)
    assert "snakemake: params.yaml:" in told
    assert message in told


@pytest.mark.parametrize(
    "name", ["data", "data/prepared", "results", "results/tables", "reports", "reports/figures", ".bnbench", "logs"]
)
def test_snakemake_shows_a_file_where_a_folder_is_needed(project: Path, name: str) -> None:
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).write_text("dear to somebody")
    assert f"cannot write {name}: a file lies where a folder is needed; move it away" in seen(project)
    assert (project / name).read_text() == "dear to somebody"


@pytest.mark.parametrize("words", [("tier=huge",), ("params=none.yaml",)])
def test_snakemake_shows_a_mistake_on_its_command_line(project: Path, words: tuple[str, ...]) -> None:
    expected = {
        "tier=huge": "tier: expected 'quick', 'small' or 'full', got 'huge'",
        "params=none.yaml": "no such file",
    }
    assert expected[words[0]] in seen(project, "--config", *words)


def test_snakemake_shows_a_wrong_checksum(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = project.parent / "mirror"
    mirror.mkdir()
    for line in (project / "params.yaml").read_text().splitlines():
        if "ubyte.gz: md5:" in line:
            (mirror / line.split(":")[0].strip()).write_bytes(CONTENT[:100])
    monkeypatch.setenv("BNBENCH_MIRROR", str(mirror))
    for address in (
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    ):
        test_pipeline.edit(project, address, "/nowhere")
    told = seen(project, "--config", "tier=small")
    assert f"wrong checksum md5:{hashlib.md5(CONTENT[:100]).hexdigest()}, 100 bytes" in told
    assert "Set BNBENCH_MIRROR to a folder that holds the file" in told
    assert not list(project.rglob("*ubyte.gz*"))


def test_snakemake_shows_a_full_disk(project: Path) -> None:
    (project / "data").mkdir()
    prefix = namespace("-t", "tmpfs", "-o", "size=30k", "none", str(project / "data"))
    command = [*prefix, sys.executable, "-m", "snakemake", "--cores", "2"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=project, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False, timeout=100
    )
    told = done.stdout + done.stderr
    assert done.returncode == 1
    assert "no space is left on the disk; free some and run the same command again" in told
    assert "Traceback" not in told
    no_temporaries((project / "listing").read_text().splitlines()[1:])
