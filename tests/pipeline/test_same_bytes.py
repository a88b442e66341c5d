"""The same bytes of every run and result table on any number of workers, instruction set, compiler and interruption."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from bnbench.arithmetic import library
from bnbench.core.identities import MACHINE
from tests.support.little import ROOT

pytestmark = pytest.mark.slow
CAPABILITIES = ("default", "avx2", "avx512")
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]

# A dense and a convolutional net, each with norms, dropout or augmentation; odd sizes; a last mini-batch and an
# evaluation's last chunk of one image; packs of one run and of several.
STUDIES = """
studies:
  S:
    title: A study
    question: Are these the same bytes?
    work: E
    base: {model: 64-9-7-10, epochs: 2, batch_size: 7, train_images: 64, evaluate_every: 3, save_weights: true}
    grid:
      product: {norm: [none, batch, layer], learning_rate: [0.1, 1000], seed: [0, 1]}
      include:
        - {norm: [batch], activation: [sigmoid], optimizer: [adam], learning_rate: [0.01], dropout: [0.3], seed: [0]}
        - {norm: [batch], activation: [tanh], weight_decay: [0.001], learning_rate: [0.05], seed: [0]}
    figures: {}
  T:
    title: Images
    question: Are these the same bytes?
    work: E
    base: {model: 5C3-P2-7C3-9D-10D, epochs: 1, batch_size: 7, train_images: 64, learning_rate: 0.05}
    grid:
      product: {norm: [none, batch, group, local_response], norm_groups: [1], seed: [0]}
      include:
        - {norm: [batch], augmentation: [published], seed: [0], probes: [[gradients, activations, percentiles]]}
    figures: {}
"""


class Pipeline:
    """A project with two small studies, and the digests of what its stages write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "workflow", folder / "workflow")
        text = (ROOT / "params.yaml").read_text()
        (folder / "params.yaml").write_text(text[: text.index("\nstudies:\n")] + STUDIES)

    def start(self, cores: int, **variables: str) -> "subprocess.Popen[str]":
        """Start the pipeline up to the tables, with these environment variables."""
        own = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
        }
        command = ["snakemake", "--cores", str(cores), "tables", "--config", "tier=quick"]
        return subprocess.Popen(
            command, cwd=self.folder, env={**os.environ, **own, **variables}, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, cores: int = 1, **variables: str) -> dict[str, str]:
        """Run the pipeline to its tables; return the digest of each file of the runs and result tables."""
        process = self.start(cores, **variables)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        results = self.folder / "results"
        paths = [*(results / "runs").rglob("*"), *(results / "tables").iterdir(), results / "metrics.json"]
        files = (path for path in paths if path.is_file() and not path.name.startswith((".", *MACHINE)))
        return {str(path.relative_to(results)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


@cache
def _expected(folder: Path) -> dict[str, str]:
    return Pipeline(folder).run()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the digests that the best instruction set gives on one worker."""
    return _expected(tmp_path_factory.mktemp("expected") / "project")


def different(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """Return the files whose digests differ."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def sets() -> list[str]:
    """Return the instruction sets that this processor executes."""
    return ["avx512", "avx2", "plain"][["avx512", "avx2", "plain"].index(library.instructions()) :]


def test_runs_hold_nothing_of_the_machine(expected: dict[str, str], tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path / "project")
    assert different(pipeline.run(), expected) == []
    for path in (pipeline.folder / "results" / "runs").glob("*/run.json"):
        assert not {"environment", "cpu", "device", "threads"} & json.loads(path.read_text()).keys()


def test_two_workers_give_the_bytes_of_one(expected: dict[str, str], tmp_path: Path) -> None:
    assert different(Pipeline(tmp_path / "project").run(2), expected) == []


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("instructions", sets())
def test_every_instruction_set_gives_the_same_bytes(
    expected: dict[str, str], tmp_path: Path, instructions: str, capability: str
) -> None:
    variables = {library.CHOICE: instructions, "ATEN_CPU_CAPABILITY": capability}
    assert different(Pipeline(tmp_path / "project").run(2, **variables), expected) == []


@pytest.mark.parametrize("compiler", COMPILERS)
def test_every_compiler_gives_the_same_bytes(expected: dict[str, str], tmp_path: Path, compiler: str) -> None:
    """The compiler is the `cc` that is found first; the cache of compiled libraries is new."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "cc").symlink_to(str(shutil.which(compiler)))
    search = os.pathsep.join((str(Path(sys.executable).parent), str(tmp_path / "bin"), os.environ["PATH"]))
    cache_folder = str(tmp_path / "cache")
    assert different(Pipeline(tmp_path / "project").run(PATH=search, XDG_CACHE_HOME=cache_folder), expected) == []


def test_an_interrupted_training_gives_the_same_bytes(expected: dict[str, str], tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path / "project")
    for _ in range(2):
        process = pipeline.start(2)
        records = pipeline.folder / "results" / "provenance"
        while process.poll() is None and not list(records.glob("[!.]*.json")):
            pass
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)
    assert different(pipeline.run(2), expected) == []
