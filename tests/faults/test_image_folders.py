"""Folders and archives of images as users have them: every file is read, or recorded with the reason it was not."""

import io
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnbench.core.errors import DataError
from bnbench.data.formats import folders
from bnbench.data.prepared import Arrays, Shape
from tests.data.formats.test_folders import GOOD, laid, picture, zipped

SHAPE: Shape = (3, 8, 6)
NOT_READ = "cannot be decoded: none of JPEG, PNG, GIF, BMP, WEBP"
Put = Callable[[Path, dict[str, bytes]], dict[str, Path]]


def tarred(folder: Path, contents: dict[str, bytes], kind: str = "", prefix: str = "") -> dict[str, Path]:
    """Write a tar of the files, under a name that does not show its format, and return its path by name."""
    path = folder / "images.bin"
    with tarfile.open(path, f"w:{kind}") as archive:  # type: ignore[call-overload]
        for name, content in contents.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return {path.name: path}


def read(files: dict[str, Path]) -> Arrays:
    return folders.read(files, SHAPE, 2)


EVERY = pytest.mark.parametrize("put", [laid, zipped, tarred])


@EVERY
@pytest.mark.parametrize(
    ("name", "kind"), [("8.webp", "WEBP"), ("8.bmp", "BMP"), ("8.gif", "GIF"), ("8.JPG", "JPEG"), ("8.jpe", "JPEG"),
                       ("8", "PNG"), ("8.txt", "JPEG")],
)  # fmt: skip
def test_the_kind_of_an_image_is_detected_from_its_bytes(tmp_path: Path, put: Put, name: str, kind: str) -> None:
    made = read(put(tmp_path, {**GOOD, f"PetImages/Dog/{name}": picture(9, kind=kind)}))
    assert len(made.images) == len(GOOD) + 1
    assert made.about["left_out"] == {}


@EVERY
def test_a_class_may_consist_of_another_kind_of_images(tmp_path: Path, put: Put) -> None:
    foxes = {f"PetImages/Fox/{i}.webp": picture(20 + i, kind="WEBP") for i in range(3)}
    made = read(put(tmp_path, GOOD | foxes))
    assert made.about["class_names"] == ["Catty", "Dog", "Fox"]
    assert np.bincount(made.labels).tolist() == [4, 4, 3]


@EVERY
def test_every_file_that_is_not_an_image_is_recorded(tmp_path: Path, put: Put) -> None:
    others = ("readme.md", "PetImages/labels.csv", "PetImages/Dog/0.json", "PetImages/Dog/0.xmp", "PetImages/Dog/x.tif")
    made = read(put(tmp_path, GOOD | dict.fromkeys(others, b"II*\x00 or text")))
    assert made.about["left_out"] == dict.fromkeys(sorted(others), NOT_READ)
    assert len(made.images) == len(GOOD)


@EVERY
def test_a_hidden_file_that_no_operating_system_made_is_recorded(tmp_path: Path, put: Put) -> None:
    made = read(put(tmp_path, GOOD | {"PetImages/Dog/.kept.jpg": picture(3), "PetImages/.git/a.jpg": picture(3)}))
    names = ("PetImages/.git/a.jpg", "PetImages/Dog/.kept.jpg")
    assert made.about["left_out"] == dict.fromkeys(names, "a hidden file")


@EVERY
@pytest.mark.parametrize("content", [b"", b"II*\0", b"words"])
def test_a_class_without_a_readable_file_is_an_error_that_names_it(tmp_path: Path, put: Put, content: bytes) -> None:
    with pytest.raises(DataError, match=r"PetImages/Fox has no image .* 1 files .* left out: PetImages/Fox/0\.tif \("):
        read(put(tmp_path, GOOD | {"PetImages/Fox/0.tif": content}))


MAC = {
    "__MACOSX/PetImages/Dog/._0.jpg": b"\0\5\26\7 attributes",
    "__MACOSX/._PetImages": b"\0\5\26\7",
    "PetImages/.DS_Store": b"\0\0\0\1Bud1",
    "PetImages/Dog/.DS_Store": b"\0\0\0\1Bud1",
    "PetImages/Dog/._1.jpg": b"\0\5\26\7 attributes",
}
WINDOWS = {"PetImages/Dog/Thumbs.db": b"\xd0\xcf\x11\xe0", "PetImages/desktop.ini": b"[.ShellClassInfo]"}
PROGRAMS = {"PetImages/.ipynb_checkpoints/0.jpg": picture(5), "PetImages/@eaDir/0.jpg": picture(5)}


@EVERY
@pytest.mark.parametrize(
    ("more", "counted"),
    [
        (MAC, {".DS_Store": 2, "._*": 1, "__MACOSX": 2}),
        (WINDOWS, {"Thumbs.db": 1, "desktop.ini": 1}),
        (PROGRAMS, {".ipynb_checkpoints": 1, "@eaDir": 1}),
    ],
)
def test_files_of_an_operating_system_are_ignored_and_counted(
    tmp_path: Path, put: Put, more: dict[str, bytes], counted: dict[str, int]
) -> None:
    made = read(put(tmp_path, GOOD | more))
    assert len(made.images) == len(GOOD)
    assert made.about["class_names"] == ["Catty", "Dog"]
    assert made.about["left_out"] == {}
    assert made.about["litter"] == counted


def test_a_macos_archive_with_class_folders_at_the_top_has_no_extra_class(tmp_path: Path) -> None:
    top = {name.removeprefix("PetImages/"): content for name, content in GOOD.items()}
    made = read(zipped(tmp_path, top | {"__MACOSX/._Dog": b"\0\5\26\7", ".DS_Store": b""}, "__MACOSX/", "Dog/"))
    assert made.about["class_names"] == ["Catty", "Dog"]


@pytest.mark.parametrize("kind", ["", "gz", "bz2", "xz"])
def test_a_tar_of_images_is_read_whatever_its_name_and_compression(tmp_path: Path, kind: str) -> None:
    made, known = read(tarred(tmp_path, GOOD, kind, "./")), read(laid(tmp_path / "laid", GOOD))
    assert np.array_equal(made.images, known.images)
    assert made.labels.tolist() == known.labels.tolist()


def test_a_zip_under_another_name_is_read(tmp_path: Path) -> None:
    path = zipped(tmp_path, GOOD)["c.zip"].rename(tmp_path / "download")
    assert len(read({"download": path}).images) == len(GOOD)


def test_a_zip_with_the_separators_of_windows_is_read(tmp_path: Path) -> None:
    made = read(zipped(tmp_path, {name.replace("/", "\\"): content for name, content in GOOD.items()}))
    assert made.about["class_names"] == ["Catty", "Dog"]


def test_names_in_utf8_without_the_flag_for_it_are_read_as_utf8(tmp_path: Path) -> None:
    files = zipped(tmp_path, {name.replace("Dog", "Dég"): content for name, content in GOOD.items()})
    content = bytearray(files["c.zip"].read_bytes())
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = -1
        while (start := content.find(magic, start + 1)) >= 0:
            content[start + offset + 1] &= ~0x08
    files["c.zip"].write_bytes(content)
    assert read(files).about["class_names"] == ["Catty", "Dég"]


def link(folder: Path, mode: int) -> dict[str, Path]:
    """Write a zip with a member that is a link or a device and return its path by name."""
    files = zipped(folder, GOOD)
    with zipfile.ZipFile(files["c.zip"], "a") as archive:
        info = zipfile.ZipInfo("PetImages/Dog/link.jpg")
        info.external_attr = mode << 16
        archive.writestr(info, "../../../etc/passwd")
    return files


ESCAPES: dict[str, tuple[Any, str]] = {
    "parent": (lambda folder: zipped(folder, GOOD, "../evil.jpg"), r"leaves the folder \(\.\.\)"),
    "absolute": (lambda folder: zipped(folder, GOOD, "/etc/evil.jpg"), "is absolute"),
    "drive": (lambda folder: zipped(folder, GOOD, "C:\\evil.jpg"), "is absolute"),
    "litter that escapes": (lambda folder: zipped(folder, GOOD, "__MACOSX/../../._x"), r"leaves the folder \(\.\.\)"),
    "link": (lambda folder: link(folder, 0o120777), "is a link"),
    "device": (lambda folder: link(folder, 0o060777), "is a device"),
    "twice": (lambda folder: zipped(folder, GOOD, "PetImages/Dog/0.jpg"), "occurs twice"),
}


@pytest.mark.parametrize("name", ESCAPES)
def test_a_path_outside_the_folder_is_refused_with_a_single_reason(tmp_path: Path, name: str) -> None:
    make, reason = ESCAPES[name]
    with pytest.raises(DataError, match=reason) as caught:
        read(make(tmp_path))
    assert "hidden" not in str(caught.value)
    assert " or " not in str(caught.value).partition("; the archive")[0].replace("a device or another special file", "")


def test_a_bomb_is_not_unpacked_beyond_its_announced_size(tmp_path: Path) -> None:
    files = zipped(tmp_path, GOOD | {"PetImages/Dog/b.jpg": bytes(1 << 29)})
    content = bytearray(files["c.zip"].read_bytes())
    for magic, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):  # of the size in both headers of a member
        start = content.rindex(magic) + offset
        content[start : start + 4] = struct.pack("<I", 50)
    files["c.zip"].write_bytes(content)
    tracemalloc.start()
    made = read(files)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 26  # it would unpack to 2**29 bytes
    assert list(made.about["left_out"]) == ["PetImages/Dog/b.jpg"]


def test_a_tar_with_a_damaged_header_in_the_middle_is_refused_not_truncated(tmp_path: Path) -> None:
    files = tarred(tmp_path, GOOD)
    path = files["images.bin"]
    content = bytearray(path.read_bytes())
    start = content.rindex(b"ustar")
    content[start - 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"images\.bin: not a zip, and not an intact tar: .* a header is damaged"):
        read(files)
