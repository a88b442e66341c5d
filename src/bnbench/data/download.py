"""Fetch a data set's files from its mirrors into a folder; none gets its name unchecked."""

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from bnbench.core import locks
from bnbench.core.atomic import atomic, explained
from bnbench.core.errors import DataError, UserError
from bnbench.core.files import checksum
from bnbench.core.names import LISTING, litter
from bnbench.data.checksums import expanded
from bnbench.data.containers import unpack
from bnbench.data.fetch import MirrorError, Patience, fetch
from bnbench.data.identity import check_key, raw_key
from bnbench.params.dataset_schema import Dataset

MIRROR = "BNBENCH_MIRROR"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """A file: where it goes, and the checksum that it must have."""

    folder: Path
    name: str  # a path below `folder`, and below a mirror
    declared: str

    @property
    def path(self) -> Path:
        """Its place."""
        return self.folder / self.name

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
    the next call goes on from it. What the environment variable BNBENCH_MIRROR names is tried first. With an
    `archive`, local mirrors may hold the files themselves; else the archive is fetched, unpacked and removed.

    Raises:
        UserError: a mirror of unknown kind, foreign files in `out`, an `out` that is named after other files.
        DataError: no mirror gave a file with the declared checksum, or an archive that cannot be trusted.
        SystemFault: `out` cannot be written.
    """
    mirrors = _mirrors(name, dataset)
    if not dataset.files:
        return  # the data come with a library
    check_key(out, raw_key(dataset), f"datasets.{name}.files")
    fetcher = Fetcher(name, mirrors, patience or Patience())
    with explained(out), locks.all_of([locks.of(out)]):
        archives = [Wanted(out, file, declared) for file, declared in dataset.archive.items()]
        for file, declared in dataset.files.items():
            if Path(file).name == LISTING:
                fetcher.bring(Wanted(out, file, declared))
        files = [Wanted(out, file, declared) for file, declared in expanded(dataset.files, out).items()]
        _tidy(name, out, [*files, *archives])
        for archive in archives:
            _bring_from(archive, files, fetcher)
        for wanted in files:
            fetcher.bring(wanted)
        for wanted in [*files, *archives]:
            wanted.part.unlink(missing_ok=True)


def _bring_from(archive: Wanted, files: list[Wanted], fetcher: "Fetcher") -> None:
    """Bring files from local mirrors as they are, or else, all of them, from the archive."""
    local = Fetcher(fetcher.name, [bases for bases in fetcher.mirrors if _is_local(bases[0])], fetcher.patience)
    try:
        for wanted in files:
            local.bring(wanted)
    except NotServed as alone:
        try:
            fetcher.bring(archive)
        except NotServed as error:
            raise NotServed(fetcher.name, f"{archive.name}, or {alone.what}", error.seen + alone.seen) from None
        _unpack(archive, files)
    archive.path.unlink(missing_ok=True)


def _unpack(archive: Wanted, files: list[Wanted]) -> None:
    try:
        unpack(archive.path, {wanted.name: wanted.part for wanted in files})
        for wanted in files:
            try:
                _settle(wanted)
            except MirrorError as error:
                raise DataError(f"{archive.path}: its {wanted.name} is not the declared one: {error}") from None
    finally:
        for wanted in files:
            wanted.part.unlink(missing_ok=True)


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


def _tidy(name: str, out: Path, files: list[Wanted]) -> None:
    """Remove what a killed download left in `out`; refuse what is not ours, it may be dear to somebody."""
    for folder in {wanted.path.parent for wanted in files}:
        for left in folder.glob(".*.*"):
            if any(left.name.startswith(f".{wanted.path.name}.") for wanted in files):
                left.unlink()
    ours = {path for wanted in files for path in (wanted.path, wanted.part) if not path.is_dir()}
    ours |= {parent for wanted in files for parent in wanted.path.parents}
    others = [path for path in out.rglob("*") if path not in ours and path.name[0] != "." and not litter(path.name)]
    foreign = sorted(str(path.relative_to(out)) for path in others)
    if foreign:
        raise UserError(
            f"{out} must hold the files of datasets.{name} alone, but there is also: {', '.join(foreign[:20])}; "
            "move that away, or download into another folder"
        )


class NotServed(DataError):
    """No mirror gave a file."""

    def __init__(self, name: str, what: str, seen: list[str]) -> None:
        super().__init__(
            f"{name}: no mirror gave {what}. Seen:\n"
            + "".join(f"  {line}\n" for line in seen or ["no mirror is declared"])
            + f"Set {MIRROR} to a folder that holds the file, or add a mirror to datasets.{name}.mirrors "
            "in params.yaml."
        )
        self.what, self.seen = what, seen


@dataclass
class Fetcher:
    """Brings a data set's files, each from the mirror that served last or the next that does."""

    name: str
    mirrors: list[list[str]]
    patience: Patience

    def bring(self, wanted: Wanted) -> None:
        """Put one file in its place, unless it is there.

        Raises:
            NotServed: no mirror gave it.
        """
        seen: list[str] = []
        if wanted.there():
            return
        wanted.path.parent.mkdir(parents=True, exist_ok=True)
        for index, bases in enumerate(self.mirrors):
            failures = []
            for base in bases:
                try:
                    _from_mirror(base, wanted, self.patience)
                except MirrorError as error:
                    failures.append(f"{base}/{wanted.name}: {error}")
                else:
                    log.info("%s: from %s", wanted.path, base)
                    self.mirrors = self.mirrors[index:] + self.mirrors[:index]
                    return
            log.warning("%s", "; ".join(failures))
            seen += failures
        raise NotServed(self.name, f"{wanted.name} with checksum {wanted.declared}", seen)


def _from_mirror(base: str, wanted: Wanted, patience: Patience) -> None:
    if _is_local(base):
        _copy(_folder(base) / wanted.name, wanted.part)
        return _settle(wanted)
    address = f"{base}/{quote(wanted.name)}"
    fetch(address, wanted.part, patience)
    try:
        return _settle(wanted)
    except MirrorError as error:  # what it went on from was perhaps another file's beginning
        log.info("%s: %s; once more from the start", address, error)
    fetch(address, wanted.part, patience)
    return _settle(wanted)


def _folder(base: str) -> Path:
    try:
        return Path(unquote(urlsplit(base).path) if base.startswith("file://") else base).expanduser()
    except RuntimeError:
        raise MirrorError(f"this machine knows no home folder {base.split('/')[0]}; write the full path") from None


def _copy(source: Path, part: Path) -> None:
    """Copy a file of a local mirror."""
    try:
        if not source.is_file():
            raise MirrorError("no such file")
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
