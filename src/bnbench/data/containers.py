"""Safe reading of zip and tar archives, compressed or not; the kind is detected from the first bytes.

Archives are never extracted: members are read one by one, and only the requested ones are written, each to a path that
the caller chose. Names that leave the folder, links, devices and duplicates are refused, for zips and tars alike;
`tarfile.data_filter` is less strict, as it accepts links within the folder and makes absolute names relative.
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

LARGEST = 1 << 29  # bytes, unpacked; CIFAR-10 has 186 MB, but a small file can unpack to any size
BLOCK = 1 << 20  # bytes
ZIP = b"PK"
COMPRESSED: dict[bytes, Callable[..., object]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
DAMAGE = (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile)
PLAIN_TAR = (tarfile.REGTYPE, tarfile.AREGTYPE)


@dataclass(frozen=True)
class Member:
    """A file of an archive: its name, its size in bytes, and a function that reads its content."""

    name: str
    size: int
    read: Callable[[], bytes]


@dataclass
class Content:
    """The content of an archive: files by name, and folders."""

    files: dict[str, Member] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)


def opened(path: Path) -> IO[bytes]:
    """Open a file for reading, decompressing it if its first bytes are those of gzip, bzip2 or xz.

    Reading from damaged compression raises one of the errors in `DAMAGE`.
    """
    with path.open("rb") as file:
        start = file.read(6)
    opener = next((opener for magic, opener in COMPRESSED.items() if start.startswith(magic)), open)
    return cast(IO[bytes], opener(path, "rb"))


@contextmanager
def content(path: Path, largest: int) -> Iterator[Content]:
    """List a zip or tar. Within the context its files can be read, in any order and by any thread.

    Args:
        path: the archive.
        largest: the limit of all its files, in bytes, unpacked.

    Raises:
        DataError: neither zip nor tar, damaged, or larger than `largest`; a member that is a link, a device or a
            duplicate, or whose name leaves the folder.
        SystemFault: no space for the temporary file that a compressed tar is unpacked to.
    """
    with path.open("rb") as file:
        is_zip = file.read(2) == ZIP
    found = Content()
    with ExitStack() as stack:
        try:
            for name, kind, member in _zipped(path, stack) if is_zip else _tarred(path, largest, stack):
                _add(path, found, name, kind, member)
        except DAMAGE as error:
            kind = "incomplete or damaged zip" if is_zip else "not a zip, and not an intact tar"
            raise DataError(f"{path}: {kind}: {error}") from None
        if (size := sum(member.size for member in found.files.values())) > largest:
            raise DataError(f"{path}: its files have {size} bytes unpacked; at most {largest} are allowed")
        yield found


def unpack(path: Path, wanted: Mapping[str, Path]) -> None:
    """Write the members `wanted` (name -> destination) of an archive; ignore the others.

    Raises:
        DataError: the archive is refused by `content`, or a member is missing or damaged.
    """
    with content(path, LARGEST) as found:
        if missing := sorted(wanted.keys() - found.files):
            raise DataError(f"{path}: lacks {', '.join(missing)}")
        for name, destination in wanted.items():
            try:
                data = found.files[name].read()
            except (*DAMAGE, RuntimeError) as error:  # RuntimeError: encrypted
                raise DataError(f"{path}: {name!r} cannot be read: {error}") from None
            destination.parent.mkdir(parents=True, exist_ok=True)
            destination.write_bytes(data)


def _add(path: Path, found: Content, name: str, kind: str, member: Member) -> None:
    """Add a file or a folder to the content; refuse anything else with its reason.

    Raises:
        DataError: not a plain file or folder, a duplicate, or a name that leaves the folder.
    """
    name = name.removeprefix("./").rstrip("/")
    if kind == "folder" and name in ("", "."):
        return
    reason = escape(name)
    if not reason and kind not in ("file", "folder"):
        reason = f"is {kind}"
    if not reason and kind == "file" and name in found.files:
        reason = "occurs twice in it"
    if reason:
        raise DataError(f"{path}: {name[:200]!r} {reason}; the archive is refused")
    if kind == "folder":
        found.folders.add(name)
    else:
        found.files[name] = Member(name, member.size, member.read)


def _zipped(path: Path, stack: ExitStack) -> Iterator[tuple[str, str, Member]]:
    try:
        archive = zipfile.ZipFile(path, metadata_encoding="utf-8")  # macOS writes UTF-8 without the flag for it
    except UnicodeDecodeError:
        archive = zipfile.ZipFile(path)
    for info in stack.enter_context(archive).infolist():
        name = info.filename.replace("\\", "/")  # some programs on Windows write these
        mode = stat.S_IFMT(info.external_attr >> 16)
        kind = "folder" if name.endswith("/") else "file"
        if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
            kind = "a link" if mode == stat.S_IFLNK else "a device or another special file"
        yield name, kind, Member(name, info.file_size, partial(_unzipped, archive, info))


def _unzipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Unpack at most the announced size; `archive.read` would unpack everything and then truncate it."""
    with archive.open(info) as file:
        return file.read(info.file_size)


def _tarred(path: Path, largest: int, stack: ExitStack) -> Iterator[tuple[str, str, Member]]:
    file = _seekable(path, largest, stack)
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for info in archive:
            kind = "file" if info.type in PLAIN_TAR and not info.sparse else "folder" if info.isdir() else ""
            if not kind:
                is_link = info.issym() or info.islnk()
                kind = "a link" if is_link else "a device or another special file"
            yield info.name, kind, Member(info.name, info.size, partial(_read_at, file, info.size, info.offset_data))
        file.seek(archive.offset)
    while block := file.read(BLOCK):  # a tar ends in zeros; tarfile ends at a damaged header too
        if block.strip(b"\0"):
            raise ValueError("data follow its end, or a header is damaged")


def _read_at(file: IO[bytes], size: int, offset: int) -> bytes:
    return os.pread(file.fileno(), size, offset)


def _seekable(path: Path, largest: int, stack: ExitStack) -> IO[bytes]:
    """Return an uncompressed tar as it is, and a compressed one unpacked to an anonymous temporary file."""
    file = stack.enter_context(opened(path))
    if isinstance(file, io.BufferedReader):
        return file
    with explained(Path(tempfile.gettempdir())):
        unpacked = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        while block := file.read(BLOCK):
            if unpacked.tell() + len(block) > largest:
                raise DataError(
                    f"{path}: has more than {largest} bytes unpacked, the limit for an archive of a data set"
                )
            unpacked.write(block)
        unpacked.seek(0)
    return cast(IO[bytes], unpacked)
