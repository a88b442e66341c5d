"""Unpacking of archives: intact ones, and ones that escape the folder, unpack without limit or have false headers."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bnbench.core.errors import DataError
from bnbench.data import containers
from bnbench.data.containers import unpack

GOOD = {"data/a": b"first", "data/b": b"second" * 1000}
Add = Callable[[tarfile.TarFile], None]


def added(name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = "") -> Add:
    """Add a member of any name and type."""

    def add(tar: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, link, len(content) if kind == tarfile.REGTYPE else 0
        tar.addfile(member, io.BytesIO(content))

    return add


def tar(folder: Path, *adds: Add, mode: str = "w:gz") -> Path:
    path = folder / "t.tar.gz"
    with tarfile.open(path, mode) as made:  # type: ignore[call-overload]
        for add in adds:
            add(made)
    return path


def good() -> list[Add]:
    return [added("data", kind=tarfile.DIRTYPE), *(added(name, content) for name, content in GOOD.items())]


def destinations(folder: Path) -> dict[str, Path]:
    return {name: folder / "out" / name for name in GOOD}


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_only_the_requested_files_are_written(tmp_path: Path, mode: str) -> None:
    unpack(tar(tmp_path, *good(), added("data/readme.html"), mode=mode), destinations(tmp_path))
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == set(GOOD)
    assert {name: path.read_bytes() for name, path in destinations(tmp_path).items()} == GOOD


ATTACKS = {
    "parent": (added("../evil"), "leaves the folder"),
    "parent within": (added("data/../../evil"), "leaves the folder"),
    "absolute": (added("/tmp/evil"), "leaves the folder"),
    "backslash": (added("data\\..\\evil"), "has a backslash"),
    "symlink": (added("data/c", kind=tarfile.SYMTYPE, link="/etc/passwd"), "is a link"),
    "symlink with the name of a file": (added("data/a", kind=tarfile.SYMTYPE, link="../../evil"), "is a link"),
    "hard link": (added("data/c", kind=tarfile.LNKTYPE, link="../../evil"), "is a link"),
    "fifo": (added("data/c", kind=tarfile.FIFOTYPE), "special file"),
    "device": (added("data/c", kind=tarfile.CHRTYPE), "special file"),
    "twice": (added("data/a", b"other"), "occurs twice"),
}


@pytest.mark.parametrize("where", ["first", "last"])
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_and_nothing_is_written_outside(tmp_path: Path, name: str, where: str) -> None:
    attack, message = ATTACKS[name]
    inner = tmp_path / "deep" / "er"
    inner.mkdir(parents=True)
    path = tar(inner, *([attack, *good()] if where == "first" else [*good(), attack]))
    with pytest.raises(DataError, match=message):
        unpack(path, destinations(inner))
    assert {path.name for path in tmp_path.iterdir()} == {"deep"}
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"er"}
    assert all(found.is_relative_to(inner / "out") or found == path for found in inner.rglob("*") if found.is_file())


def test_unpacking_stops_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "LARGEST", 1 << 20)
    path = tar(tmp_path, added("data/a", bytes(2 << 20)))
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match="has more than 1048576 bytes unpacked"):
        unpack(path, destinations(tmp_path))


def test_a_member_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lacks data/b"):
        unpack(tar(tmp_path, good()[1]), destinations(tmp_path))


@pytest.mark.parametrize(
    "damage", [lambda c: c[: len(c) // 2], lambda c: c[:40] + b"\xff" * 20 + c[60:], lambda _: b"", lambda _: b"<html>"]
)
def test_a_damaged_tar_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tar(tmp_path, *good())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"t\.tar\.gz: (not a zip, and not an intact tar|lacks)"):
        unpack(path, destinations(tmp_path))


def test_compressed_data_that_are_not_a_tar_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.tar.gz"
    path.write_bytes(gzip.compress(b"no tar" * 500))
    with pytest.raises(DataError, match="and not an intact tar"):
        unpack(path, destinations(tmp_path))
