"""Fetch a data set's files from its mirrors into a folder; none gets its name unchecked."""

import contextlib
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from bnbench.errors import DataError, UserError
from bnbench.files import atomic, checksum, explained
from bnbench.schema import Dataset
from bnbench.transfer import MirrorError, Patience, fetch

MIRROR = "BNBENCH_MIRROR"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """A file: where it goes, and the checksum that it must have."""

    path: Path
    declared: str

    @property
    def part(self) -> Path:
        """Where it grows until it is complete and checked."""
        return self.path.with_name(f"{self.path.name}.part")

    def seen(self, file: Path) -> str:
        """The checksum of `file`, written as the declared one is."""
        algorithm = self.declared.partition(":")[0]
        return f"{algorithm}:{checksum(file, algorithm)}"

    def there(self) -> bool:
        """Whether the file lies in its place, as declared."""
        return self.path.is_file() and self.seen(self.path) == self.declared


def download(name: str, dataset: Dataset, out: Path, patience: Patience | None = None) -> None:
    """Put the files of `dataset` into folder `out`, which then holds them and nothing else.

    Files that are there with the right checksum are kept. Where a download breaks off, `FILE.part` stays and
    the next call goes on from it. What the environment variable BNBENCH_MIRROR names is tried first.

    Raises:
        UserError: a file name with a folder in it, a mirror of unknown kind, foreign files in `out`.
        DataError: no mirror gave a file with the declared checksum.
        SystemFault: `out` cannot be written.
    """
    files = [Wanted(out / _plain(name, file), declared) for file, declared in dataset.files.items()]
    mirrors = _mirrors(name, dataset)
    if not files:
        return  # the data come with a library
    with explained(out):
        out.mkdir(parents=True, exist_ok=True)
        with _alone(out):
            _tidy(name, out, files)
            for wanted in files:
                if not wanted.there():
                    mirrors = _fetch(name, wanted, mirrors, patience or Patience())
                wanted.part.unlink(missing_ok=True)


def _plain(name: str, file: str) -> str:
    if not file or file.startswith(".") or file.endswith(".part") or any(sign in file for sign in "/\\\0"):
        raise UserError(
            f"datasets.{name}.files: {file!r} is not a plain file name; write it without folders, "
            "without a leading dot and without .part at its end"
        )
    return file


def _mirrors(name: str, dataset: Dataset) -> list[list[str]]:
    """For each mirror the folders that may hold the files; a user's own may have a sub-folder a data set."""
    own = os.environ.get(MIRROR)
    declared = [(mirror, f"datasets.{name}.mirrors") for mirror in dataset.mirrors]
    mirrors = []
    for mirror, where in [(own, MIRROR), *declared] if own else declared:
        base = _checked(mirror, where).rstrip("/") or "/"
        mirrors.append([f"{base}/{name}", base] if where == MIRROR or _is_local(base) else [base])
    return mirrors


def _checked(mirror: str, where: str) -> str:
    scheme, is_address, rest = mirror.partition("://")
    host = rest.partition("/")[0]
    if is_address and (scheme not in ("https", "http", "file") or (scheme != "file" and not host)):
        raise UserError(f"{where}: {mirror} is neither an https, http or file address nor a folder")
    if scheme == "file" and host not in ("", "localhost"):
        raise UserError(f"{where}: {mirror} names a machine; write file:/// and the folder's full path")
    return mirror


def _is_local(base: str) -> bool:
    return "://" not in base or base.startswith("file://")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold `folder` while it is filled: of two processes the second waits, then finds the files there."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks; the checksums remain
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _tidy(name: str, out: Path, files: list[Wanted]) -> None:
    """Remove what a killed download left in `out`; refuse what is not ours, it may be dear to somebody."""
    for wanted in files:
        for left in out.glob(f".{wanted.path.name}.*"):
            left.unlink()
    ours = {path.name for wanted in files for path in (wanted.path, wanted.part) if not path.is_dir()}
    foreign = sorted(path.name for path in out.iterdir() if path.name not in ours and path.name[0] != ".")
    if foreign:
        raise UserError(
            f"{out} must hold the files of datasets.{name} alone, but there is also: {', '.join(foreign)}; "
            "move that away, or download into another folder"
        )


def _fetch(name: str, wanted: Wanted, mirrors: list[list[str]], patience: Patience) -> list[list[str]]:
    """Put one file in its place; returns the mirrors, the one that served first: it gives the next file."""
    seen: list[str] = []
    for index, bases in enumerate(mirrors):
        failures = []
        for base in bases:
            try:
                _from_mirror(base, wanted, patience)
            except MirrorError as error:
                failures.append(f"{base}/{wanted.path.name}: {error}")
            else:
                log.info("%s: from %s", wanted.path, base)
                return mirrors[index:] + mirrors[:index]
        log.warning("%s", "; ".join(failures))
        seen += failures
    raise DataError(
        f"{name}: no mirror gave {wanted.path.name} with checksum {wanted.declared}. Seen:\n"
        + "".join(f"  {line}\n" for line in seen or ["no mirror is declared"])
        + f"Set {MIRROR} to a folder that holds the file, or add a mirror to datasets.{name}.mirrors "
        "in params.yaml."
    )


def _from_mirror(base: str, wanted: Wanted, patience: Patience) -> None:
    if _is_local(base):
        _copy(_folder(base) / wanted.path.name, wanted.part)
        return _settle(wanted)
    address = f"{base}/{quote(wanted.path.name)}"
    fetch(address, wanted.part, patience)
    try:
        return _settle(wanted)
    except MirrorError as error:  # what it went on from was perhaps another file's beginning
        log.info("%s: %s; once more from the start", address, error)
    fetch(address, wanted.part, patience)
    return _settle(wanted)


def _folder(base: str) -> Path:
    return Path(unquote(urlsplit(base).path) if base.startswith("file://") else base).expanduser()


def _copy(source: Path, part: Path) -> None:
    """Copy a file of a local mirror."""
    if not source.is_file():
        raise MirrorError("no such file")
    try:
        source.open("rb").close()  # so that a refusal further down is one to write
    except OSError as error:
        raise MirrorError(f"cannot be read: {error.strerror}") from None
    shutil.copyfile(source, part)


def _settle(wanted: Wanted) -> None:
    """Give the downloaded file its name if it is the right one; else remove it."""
    seen, size = wanted.seen(wanted.part), wanted.part.stat().st_size
    if seen != wanted.declared:
        with wanted.part.open("rb") as file:
            start = file.read(512).lstrip().lower()
        wanted.part.unlink()
        page = ", an HTML page (a login, an error?)" if start.startswith((b"<!doctype html", b"<html")) else ""
        raise MirrorError(f"wrong checksum {seen}, {size} bytes{page}")
    with atomic(wanted.path) as temporary:
        wanted.part.replace(temporary)
