"""Members of a zip or a tar, whichever its first bytes say, compressed or not; nothing is written but what is asked.

Names that reach outside, links and devices are refused.
"""

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, cast

from bnbench.core.atomic import explained
from bnbench.core.errors import DataError
from bnbench.core.names import escape

LARGEST = 1 << 29  # bytes, unpacked; CIFAR-10 has 186 MB, and a small file can unfold to any size
BLOCK = 1 << 20  # bytes
ZIP = b"PK"
COMPRESSED: dict[bytes, Callable[..., object]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
DAMAGE = (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile)
PLAIN_TAR = (tarfile.REGTYPE, tarfile.AREGTYPE)


@dataclass(frozen=True)
class Member:
    """A file of an archive: its name, its size in bytes, and how its content is read."""

    name: str
    size: int
    read: Callable[[], bytes]


@dataclass
class Content:
    """What an archive holds: files by name, and folders."""

    files: dict[str, Member] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)


def opened(path: Path) -> IO[bytes]:
    """Open a file for reading, decompressed if its first bytes are those of gzip, bzip2 or xz.

    A damaged one raises an error of `DAMAGE` while it is read.
    """
    with path.open("rb") as file:
        start = file.read(6)
    opener = next((opener for magic, opener in COMPRESSED.items() if start.startswith(magic)), open)
    return cast(IO[bytes], opener(path, "rb"))


@contextmanager
def content(path: Path, largest: int) -> Iterator[Content]:
    """List a zip or tar. Until the context ends its files can be read, in any order and by any thread.

    Raises:
        DataError: neither zip nor tar, damaged, more than `largest` bytes unpacked; a member that is a link or a
            device, stands twice, or whose name reaches outside.
        SystemFault: no space for a compressed tar, unpacked.
    """
    with path.open("rb") as file:
        is_zip = file.read(2) == ZIP
    found = Content()
    with ExitStack() as stack:
        try:
            for name, kind, member in _zipped(path, stack) if is_zip else _tarred(path, largest, stack):
                _add(path, found, name, kind, member)
        except DAMAGE as error:
            what = "not a whole zip" if is_zip else "no zip, and not a whole tar"
            raise DataError(f"{path}: {what}: {error}") from None
        if (size := sum(member.size for member in found.files.values())) > largest:
            raise DataError(f"{path}: its files unfold to {size} bytes; at most {largest}")
        yield found


def unpack(path: Path, wanted: Mapping[str, Path]) -> None:
    """Write each member `wanted` of an archive to its place; others are passed over.

    Raises:
        DataError: as `content`, or a member is missing.
    """
    with content(path, LARGEST) as found:
        if missing := sorted(wanted.keys() - found.files):
            raise DataError(f"{path}: lacks {', '.join(missing)}")
        for name, place in wanted.items():
            try:
                whole = found.files[name].read()
            except (*DAMAGE, RuntimeError) as error:  # RuntimeError: one that needs a password
                raise DataError(f"{path}: {name!r} cannot be read: {error}") from None
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(whole)


def _add(path: Path, found: Content, name: str, kind: str, member: Member) -> None:
    """Take a file or a folder; anything else is refused, each for its own reason."""
    name = name.removeprefix("./").rstrip("/")
    if kind == "folder" and name in ("", "."):
        return
    reason = escape(name)
    if not reason and kind not in ("file", "folder"):
        reason = f"is {kind}"
    if not reason and kind == "file" and name in found.files:
        reason = "stands twice in it"
    if reason:
        raise DataError(f"{path}: {name[:200]!r} {reason}; nothing of the archive is taken")
    if kind == "folder":
        found.folders.add(name)
    else:
        found.files[name] = Member(name, member.size, member.read)


def _zipped(path: Path, stack: ExitStack) -> Iterator[tuple[str, str, Member]]:
    try:
        archive = zipfile.ZipFile(path, metadata_encoding="utf-8")  # as macOS writes names, without saying so
    except UnicodeDecodeError:
        archive = zipfile.ZipFile(path)
    for info in stack.enter_context(archive).infolist():
        name = info.filename.replace("\\", "/")  # as some programs on Windows write them
        mode = stat.S_IFMT(info.external_attr >> 16)
        kind = "folder" if name.endswith("/") else "file"
        if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
            kind = "a link" if mode == stat.S_IFLNK else "a device or another thing that is no plain file"
        yield name, kind, Member(name, info.file_size, partial(_unzipped, archive, info))


def _unzipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """No more than was announced is unfolded; `archive.read` unfolds all of it, and then cuts it."""
    with archive.open(info) as file:
        return file.read(info.file_size)


def _tarred(path: Path, largest: int, stack: ExitStack) -> Iterator[tuple[str, str, Member]]:
    file = _seekable(path, largest, stack)
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for info in archive:
            kind = "file" if info.type in PLAIN_TAR and not info.sparse else "folder" if info.isdir() else ""
            if not kind:
                is_link = info.issym() or info.islnk()
                kind = "a link" if is_link else "a device or another thing that is no plain file"
            yield info.name, kind, Member(info.name, info.size, partial(_part, file, info.size, info.offset_data))
        file.seek(archive.offset)
    while block := file.read(BLOCK):  # the end is zeros; tarfile takes a damaged header for it
        if block.strip(b"\0"):
            raise ValueError("something follows its end, or a header is damaged")


def _part(file: IO[bytes], size: int, place: int) -> bytes:
    return os.pread(file.fileno(), size, place)


def _seekable(path: Path, largest: int, stack: ExitStack) -> IO[bytes]:
    """The tar itself, or one that was compressed as a temporary file without a name."""
    file = stack.enter_context(opened(path))
    if isinstance(file, io.BufferedReader):
        return file
    with explained(Path(tempfile.gettempdir())):
        made = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        while block := file.read(BLOCK):
            if made.tell() + len(block) > largest:
                raise DataError(f"{path}: unfolds to more than {largest} bytes, which no archive of a data set may")
            made.write(block)
        made.seek(0)
    return cast(IO[bytes], made)
