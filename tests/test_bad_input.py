"""What a user can get wrong, and what the world can: one clear message with the remedy, nothing half-written."""

import hashlib
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bnbench.collect import collect
from bnbench.figures import draw
from bnbench.files import write_json
from bnbench.plan import Workflow
from tests import test_pipeline
from tests.parameters import line_of, toy
from tests.store import fill_store, make_plan
from tests.web import CONTENT, Serve, flipped, servers, truncated

project = test_pipeline.project  # a fixture: a copy of the project, its quick tier four short runs
SECONDS = 5.0  # within which a mistake is told, where no network is asked
BASE = "    base: {epochs: 4}\n"
RATES = "learning_rate: [0.1, 1]"
Files = dict[str, bytes]


def bnbench(*words: object, folder: Path, prefix: tuple[str, ...] = (), limit: int | None = None) -> str:
    """What a command that must fail says, with its exit code before it; `limit`: of a file's size in bytes."""

    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [*prefix, sys.executable, "-m", "bnbench.cli", *map(str, words)]
    environment = {key: value for key, value in os.environ.items() if key != "BNBENCH_MIRROR"}
    done = subprocess.run(
        command, cwd=folder, env={**environment, "NO_PROXY": "127.0.0.1"}, preexec_fn=limited,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    told = done.stdout + done.stderr
    assert "Traceback" not in told
    assert told.count(f"bnbench {words[0]}: ") == 1, told
    return f"{done.returncode}: {told[told.index(f'bnbench {words[0]}: ') :]}"


def contents(folder: Path) -> Files:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- params.yaml

# what is wrong -> the edit, what marks its line, what the message says
PARAMS: dict[str, tuple[tuple[str, str], str, str]] = {
    "an unknown key": ((BASE, "    base: {epocs: 4}\n"), "epocs", "studies.S.base.epocs: unknown key; known here: "),
    "a wrong type": ((BASE, "    base: {epochs: [4]}\n"), "[4]", "expected a whole number, got [4]"),
    "a rate in words": ((RATES, "learning_rate: fast"), "fast", "expected a list, as `learning_rate: [\"fast\"]`"),
    "a base in words": ((BASE, "    base: {learning_rate: fast}\n"), "fast", "expected a number, got 'fast'"),
    "an empty axis": ((RATES, "learning_rate: []"), "rate: []", "expected a list of at least 1 value, got []"),
    "an empty grid": (
        ("      product:\n        norm: [none, batch]\n        learning_rate: [0.1, 1]\n        seed: [0, 1]\n",
         "      product:\n"),
        "    grid:", "the grid is empty; name at least one setting with its values, as `seed: [0, 1, 2]`",
    ),
    "no such data set": (
        (BASE, "    base: {dataset: digts}\n"), "digts}", "no data set 'digts' under datasets (there: digits); did you",
    ),
    "an unknown layer": (
        (BASE, "    base: {model: 64-32Q-10}\n"), "32Q",
        "'32Q' is no layer; known are 784 (width), 32C5 (kernels C odd size), P2 (pool), 256D (dense), Dropout0.5, "
        "64K-4C3B (blocks)\n    64-32Q-10\n       ^ here",
    ),
    "too large a batch": (
        (BASE, "    base: {batch_size: 5000}\n"), "5000",
        "a batch of 5000 is larger than the training set of 1197 images",
    ),
    "an open bracket": ((RATES, "learning_rate: [0.1, 1"), "seed: [0, 1]", "not YAML"),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "mark", "message"), PARAMS.values(), ids=PARAMS)
def test_a_mistake_in_the_parameter_file_is_told_at_once(
    tmp_path: Path, edit: tuple[str, str], mark: str, message: str
) -> None:
    path = toy(tmp_path, edit)
    before, begun = contents(tmp_path), time.perf_counter()
    told = bnbench("plan", folder=tmp_path)
    assert time.perf_counter() - begun < SECONDS
    assert told.startswith(f"2: bnbench plan: params.yaml:{line_of(path, mark)}: ")
    assert message in told
    assert contents(tmp_path) == before


def test_every_stage_that_reads_the_parameter_file_tells_its_mistakes(tmp_path: Path) -> None:
    toy(tmp_path, (BASE, "    base: {epocs: 4}\n"))
    for command in ("download", "prepare"):
        told = bnbench(command, "digits", "--out", "out", folder=tmp_path)
        assert told.startswith(f"2: bnbench {command}: params.yaml:")
    toy(tmp_path)
    for command in ("download", "prepare"):
        told = bnbench(command, "digts", "--out", "out", folder=tmp_path)
        assert told.startswith(f"2: bnbench {command}: params.yaml: no data set 'digts'")
        assert "did you mean 'digits'?" in told
    assert list(contents(tmp_path)) == ["params.yaml"]


# --- mirrors


@pytest.fixture
def serve() -> Iterator[Serve]:
    with servers() as start:
        yield start


def with_mirror(folder: Path, mirror: str) -> None:
    """The toy file whose data set is a file of `mirror`."""
    declared = f"mirrors: ['{mirror}']\n    files: {{a.gz: 'sha256:{hashlib.sha256(CONTENT).hexdigest()}'}}"
    toy(folder, ("    classes: 10", f"    {declared}\n    classes: 10"))


def refused_mirror(folder: Path, mirror: str) -> str:
    """What a download says that must fail; what lay in the folder stays, and nothing wrong gets the file's name."""
    with_mirror(folder, mirror)
    told = bnbench("download", "digits", "--out", "raw", folder=folder)
    assert told.startswith("3: bnbench download: digits: no mirror gave a.gz with checksum sha256:")
    assert "Set BNBENCH_MIRROR to a folder that holds the file, or add a mirror" in told
    assert f"{mirror}/a.gz: " in told
    assert {path.name for path in (folder / "raw").iterdir()} <= {"a.gz.part"}
    return told


@pytest.mark.parametrize(("size", "seen"), [(0, " 0 bytes"), (5000, " 5000 bytes")])
def test_a_truncated_file_in_a_folder_is_told(tmp_path: Path, size: int, seen: str) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "a.gz").write_bytes(CONTENT[:size])
    begun = time.perf_counter()
    told = refused_mirror(tmp_path, str(tmp_path / "mirror"))
    assert time.perf_counter() - begun < SECONDS
    assert f"wrong checksum sha256:{hashlib.sha256(CONTENT[:size]).hexdigest()},{seen}" in told
    assert not list((tmp_path / "raw").iterdir())
    assert (tmp_path / "mirror" / "a.gz").stat().st_size == size


def test_a_mirror_that_is_no_folder_is_told(tmp_path: Path) -> None:
    assert "no such file" in refused_mirror(tmp_path, str(tmp_path / "nowhere"))


def test_a_wrong_file_of_a_server_is_told(serve: Serve, tmp_path: Path) -> None:
    told = refused_mirror(tmp_path, serve(flipped(77)).address)
    assert f"wrong checksum sha256:{hashlib.sha256(flipped_content(77)).hexdigest()}, {len(CONTENT)} bytes" in told
    assert not list((tmp_path / "raw").iterdir())


def flipped_content(position: int) -> bytes:
    return CONTENT[:position] + bytes([CONTENT[position] ^ 1]) + CONTENT[position + 1 :]


@pytest.mark.slow
def test_a_server_that_breaks_off_is_told_and_what_came_is_kept(serve: Serve, tmp_path: Path) -> None:
    told = refused_mirror(tmp_path, serve(truncated(5000)).address)
    assert "IncompleteRead" in told
    assert (tmp_path / "raw" / "a.gz.part").read_bytes() == CONTENT[:5000]


@pytest.mark.slow
def test_an_unreachable_server_is_told(tmp_path: Path) -> None:
    assert "refused" in refused_mirror(tmp_path, "http://127.0.0.1:9/mnist")
    assert not list((tmp_path / "raw").iterdir())


# --- disks and folders


@dataclass(frozen=True)
class Inputs:
    """What each stage reads, made once."""

    folder: Path
    job: str
    data: str

    def words(self, stage: str, out: str) -> list[str]:
        """The command line of a stage that writes to folder `out`."""
        tables, figures = ("--tables", f"{self.folder}/tables"), ("--figures", f"{self.folder}/reports/figures")
        plan, store = f"{self.folder}/plan.json", ("--store", f"{self.folder}/runs")
        own = ("--timings", f"{out}/timings", "--work", f"{out}/work", "--workers", "1")
        lines = {
            "schema": ["schema", "--out", f"{out}/schema.json"],
            "prepare": ["prepare", "digits", "--out", f"{out}/digits"],
            "download": ["download", "digits", "--params", "mirrored/params.yaml", "--out", f"{out}/raw"],
            "train": ["train", self.job, "--out", f"{out}/runs", *own],
            "checkpoints": ["train", self.job, "--out", f"{out}/runs", *own, "--checkpoint-seconds", "0.001"],
            "collect": ["collect", plan, *store, "--out", f"{out}/tables"],
            "figures": ["figures", plan, *tables, "--out", f"{out}/figures", "--workers", "1"],
            "report": ["report", plan, *tables, *figures, "--out", out],
        }
        return lines[stage]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("inputs")
    plan = make_plan({"A1": ({"epochs": 3}, {"norm": ["none", "batch"], "seed": [0, 1, 2]})})
    write_json(folder / "plan.json", plan)
    fill_store(plan, folder / "runs")
    collect(plan, folder / "runs", folder / "tables")
    draw(plan, folder / "tables", folder / "reports" / "figures", 1)
    flow = Workflow(toy(folder), {}, folder)
    job = flow.trained(None)[0].replace(".done", ".json")
    command = [sys.executable, "-m", "bnbench.cli", "prepare", "digits", "--out", flow.prepared[0]]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    (folder / "mirrored").mkdir()
    (folder / "mirrored" / "a.gz").write_bytes(CONTENT)
    with_mirror(folder / "mirrored", str(folder / "mirrored"))
    return Inputs(folder, job, flow.prepared[0])


def namespace(*mount: str) -> tuple[str, ...]:
    """The start of a command that runs with a mount of its own; skips where that may not be."""
    prefix = ("unshare", "--map-root-user", "--mount", "sh", "-c")
    script = f'mount {" ".join(mount)} && "$@"; code=$?; ls -AR {mount[-1]} > listing; exit $code'
    if not shutil.which("unshare") or subprocess.run([*prefix, f"mount {' '.join(mount)}"], check=False).returncode:
        pytest.skip("no mounts may be made here")
    return (*prefix, script, "sh")


def no_temporaries(listing: list[str]) -> None:
    names = [name.rsplit("/", 1)[-1] for name in listing]
    assert not [name for name in names if name.startswith(".")]
    assert not [name for name in names if name.startswith("identity-")]


WRITERS = ("prepare", "download", "checkpoints", "collect", "figures", "report")


@pytest.mark.parametrize("stage", WRITERS)
def test_a_file_that_may_not_grow_ends_with_the_remedy(inputs: Inputs, tmp_path: Path, stage: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dear.txt").write_text("dear to somebody")
    before = contents(inputs.folder)
    told = bnbench(*inputs.words(stage, str(tmp_path / "out")), folder=inputs.folder, limit=4000)
    assert told.startswith("4: ")
    assert f"cannot write {tmp_path}/out/" in told
    assert "raise the limit (ulimit -f) and run the same command again" in told
    assert contents(inputs.folder) == before
    written = contents(tmp_path / "out")
    no_temporaries(list(written))
    assert written["dear.txt"] == b"dear to somebody"


@pytest.mark.parametrize("stage", [*WRITERS, "train"])
def test_a_full_disk_ends_with_the_remedy(inputs: Inputs, tmp_path: Path, stage: str) -> None:
    (tmp_path / "small").mkdir()
    size = "8k" if stage == "train" else "60k"
    prefix = namespace("-t", "tmpfs", "-o", f"size={size}", "none", str(tmp_path / "small"))
    copy = shutil.copytree(inputs.folder, tmp_path / "inputs")
    told = bnbench(*inputs.words(stage, str(tmp_path / "small")), folder=copy, prefix=prefix)
    assert told.startswith("4: ")
    assert f"cannot write {tmp_path}/small" in told
    assert "no space is left on the disk; free some and run the same command again" in told
    no_temporaries((copy / "listing").read_text().splitlines()[1:])


@pytest.mark.parametrize("stage", [*WRITERS, "train", "schema"])
def test_a_file_where_a_folder_is_needed_ends_with_the_remedy(inputs: Inputs, tmp_path: Path, stage: str) -> None:
    (tmp_path / "results").write_text("dear to somebody")
    begun = time.perf_counter()
    told = bnbench(*inputs.words(stage, str(tmp_path / "results")), folder=inputs.folder)
    assert time.perf_counter() - begun < 2 * SECONDS  # training loads torch
    assert told.startswith("4: ")
    assert "a file lies where a folder is needed; move it away" in told
    assert contents(tmp_path) == {"results": b"dear to somebody"}


@pytest.mark.parametrize("stage", [*WRITERS, "train", "schema"])
def test_a_read_only_folder_ends_with_the_remedy(inputs: Inputs, tmp_path: Path, stage: str) -> None:
    (tmp_path / "results").mkdir()
    prefix = namespace("-t", "tmpfs", "-o", "ro", "none", str(tmp_path / "results"))
    copy = shutil.copytree(inputs.folder, tmp_path / "inputs")
    told = bnbench(*inputs.words(stage, str(tmp_path / "results")), folder=copy, prefix=prefix)
    assert told.startswith("4: ")
    assert "this file system is read-only; work in a folder that can be written" in told


def test_a_folder_where_a_file_is_needed_ends_with_the_remedy(tmp_path: Path) -> None:
    told = bnbench("schema", "--out", tmp_path, folder=tmp_path)
    assert told.startswith("4: ")
    assert f"cannot write {tmp_path}: a folder lies where a file is needed; move it away" in told
    assert [path.name for path in tmp_path.parent.iterdir() if path.name.startswith(".")] == []


# --- as seen through Snakemake


def seen(project: Path, *more: str) -> str:
    """What the terminal shows of a start that must fail; nothing may be trained, and no stack shown."""
    before = contents(project / "workflow")
    told = test_pipeline.snakemake(project, *more, code=1)
    assert "Traceback" not in told
    assert 'File "' not in told
    assert not (project / "results" / "runs").exists()
    assert contents(project / "workflow") == before
    return told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("learning_rate: 0.1\n", "learning_rate: fast\n", "training.learning_rate: expected a number, got 'fast'"),
        ("{model: 64-16-10", "{dataset: nope, model: 64-16-10", "no data set 'nope' under datasets (there: digits, "),
        ("{model: 64-16-10", "{model: 64-16Q-10", "    64-16Q-10\n       ^ here (study A1, tier quick)"),
        ("{model: 64-16-10", "{batch_size: 5000, model: 64-16-10", "a batch of 5000 is larger than the training set"),
    ],
)
def test_snakemake_shows_a_mistake_in_the_parameter_file(project: Path, old: str, new: str, message: str) -> None:
    test_pipeline.edit(project, old, new)
    told = seen(project)
    assert "snakemake: params.yaml:" in told
    assert message in told


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["data", "data/prepared", "results", "results/tables", "reports", "reports/figures", ".bnbench", "logs"]
)
def test_snakemake_shows_a_file_where_a_folder_is_needed(project: Path, name: str) -> None:
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).write_text("dear to somebody")
    assert f"cannot write {name}: a file lies where a folder is needed; move it away" in seen(project)
    assert (project / name).read_text() == "dear to somebody"


@pytest.mark.slow
@pytest.mark.parametrize("words", [("tier=huge",), ("params=none.yaml",)])
def test_snakemake_shows_a_mistake_on_its_command_line(project: Path, words: tuple[str, ...]) -> None:
    expected = {"tier=huge": "tier: expected 'quick', 'small' or 'full', got 'huge'", "params=none.yaml": "no such file"}
    assert expected[words[0]] in seen(project, "--config", *words)


@pytest.mark.slow
def test_snakemake_shows_a_wrong_checksum(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = project.parent / "mirror"
    mirror.mkdir()
    for line in (project / "params.yaml").read_text().splitlines():
        if "ubyte.gz: md5:" in line:
            (mirror / line.split(":")[0].strip()).write_bytes(CONTENT[:100])
    monkeypatch.setenv("BNBENCH_MIRROR", str(mirror))
    for address in ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist"):
        test_pipeline.edit(project, address, "/nowhere")
    told = seen(project, "--config", "tier=small")
    assert f"wrong checksum md5:{hashlib.md5(CONTENT[:100]).hexdigest()}, 100 bytes" in told
    assert "Set BNBENCH_MIRROR to a folder that holds the file" in told
    assert not [path for path in project.rglob("*ubyte.gz*")]


@pytest.mark.slow
def test_snakemake_shows_a_full_disk(project: Path) -> None:
    (project / "data").mkdir()
    prefix = namespace("-t", "tmpfs", "-o", "size=30k", "none", "data")
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
