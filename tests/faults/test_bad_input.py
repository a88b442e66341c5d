"""Mistakes of users and faults of mirrors give one clear message with the remedy and leave no partial file."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.parameters import line_of, toy
from tests.support.shell import SECONDS, bnbench, contents, spent, with_mirror
from tests.support.web import CONTENT, Serve, flipped, servers, truncated

BASE = "    base: {epochs: 4}\n"
RATES = "learning_rate: [0.1, 1]"

# mistake -> the edit, the text that marks its line, part of the message
PARAMS: dict[str, tuple[tuple[str, str], str, str]] = {
    "an unknown key": ((BASE, "    base: {epocs: 4}\n"), "epocs", "studies.S.base.epocs: unknown key; known here: "),
    "a wrong type": ((BASE, "    base: {epochs: [4]}\n"), "[4]", "expected a whole number, got [4]"),
    "a rate in words": ((RATES, "learning_rate: swift"), "swift", "expected a list, as `learning_rate: [\"swift\"]`"),
    "a base in words": ((BASE, "    base: {learning_rate: swift}\n"), "swift", "expected a number, got 'swift'"),
    "an empty axis": ((RATES, "learning_rate: []"), "rate: []", "expected a list of at least 1 value, got []"),
    "an empty grid": (
        ("      product:\n        norm: [none, batch]\n        learning_rate: [0.1, 1]\n        seed: [0, 1]\n",
         "      product:\n"),
        "    grid:", "the grid is empty; name at least one setting with its values, as `seed: [0, 1, 2]`",
    ),
    "no such data set": (
        (BASE, "    base: {dataset: digts}\n"), "digts}", "no data set 'digts' under datasets (defined: digits); did",
    ),
    "an unknown layer": (
        (BASE, "    base: {model: 64-32Q-10}\n"), "32Q",
        "'32Q' is no layer; known are 784 (width), 32C5 (filters C odd size), P2 (pool), 256D (dense), Dropout0.5, "
        "LRN, 64K-4C3B (blocks)\n    64-32Q-10\n       ^ here",
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
    before, begun = contents(tmp_path), spent()
    told = bnbench("plan", folder=tmp_path)
    assert spent() - begun < SECONDS
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


def refused_mirror(folder: Path, mirror: str) -> str:
    """Return the message of a download that must fail; existing files stay, and no wrong file gets the final name."""
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
    begun = spent()
    told = refused_mirror(tmp_path, str(tmp_path / "mirror"))
    assert spent() - begun < SECONDS
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
