"""Take a known list of files out of a tar, member by member; nothing else of it is ever written."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Protocol

from bnbench.errors import DataError
from bnbench.files import is_plain

LARGEST = 1 << 29  # bytes, unpacked; CIFAR-10 has 186 MB, and a small file can unfold to any size
BLOCK = 1 << 20  # bytes


class Readable(Protocol):
    """What can be read block by block."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes."""


class Bounded(io.RawIOBase):
    """A stream that ends with an error once it gave more than `LARGEST` bytes."""

    def __init__(self, inner: Readable, path: Path) -> None:
        self.inner, self.path, self.left = inner, path, LARGEST

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes.

        Raises:
            DataError: the stream is larger than an archive may be.
        """
        block = self.inner.read(min(size, BLOCK) if size >= 0 else BLOCK)
        self.left -= len(block)
        if self.left < 0:
            raise DataError(f"{self.path}: unfolds to more than {LARGEST} bytes, which no archive of a data set may")
        return block


def unpack(path: Path, wanted: Mapping[str, Path]) -> None:
    """Write each member `wanted` of a tar (gzip'd or not) to its place.

    Members that nobody asked for are passed over. The archive is read once, from its beginning to its end.

    Raises:
        DataError: no tar, one that unfolds without bound, a path that leaves the folder, a link or device, a member
            that stands twice or is missing.
    """
    seen: set[str] = set()
    try:
        with path.open("rb") as file:
            plain = gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == b"\x1f\x8b" else file
            with tarfile.open(fileobj=Bounded(plain, path), mode="r|") as archive:
                for member in archive:
                    name = _checked(path, member)
                    if name in seen:
                        raise DataError(f"{path}: {name!r} stands twice in it")
                    if name in wanted and (content := archive.extractfile(member)):
                        seen.add(name)
                        _copy(content, wanted[name])
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: not a whole tar: {error}") from None
    if missing := sorted(wanted.keys() - seen):
        raise DataError(f"{path}: lacks {', '.join(missing)}")


def _checked(path: Path, member: tarfile.TarInfo) -> str:
    """The member's name, if it is a harmless one."""
    name = member.name.rstrip("/")
    if not is_plain(name):
        raise DataError(f"{path}: the path {name[:200]!r} leaves the folder or is hidden; nothing of it is taken")
    if not (member.isdir() or member.type in (tarfile.REGTYPE, tarfile.AREGTYPE)):
        raise DataError(
            f"{path}: {name!r} is a link, a device or another thing that is no plain file; nothing of it is taken"
        )
    return name


def _copy(content: IO[bytes], place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("wb") as file:
        while block := content.read(BLOCK):
            file.write(block)
