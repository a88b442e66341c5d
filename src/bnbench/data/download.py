"""Download of a data set's files from its mirrors; a file gets its final name only after its checksum is verified."""

import logging
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from bnbench.core import locks
from bnbench.core.atomic import atomic, explained
from bnbench.core.errors import DataError, UserError
from bnbench.core.files import checksum
from bnbench.core.names import LISTING, litter
from bnbench.data.checksums import expanded
from bnbench.data.containers import unpack
from bnbench.data.fetch import MirrorError, Patience, fetch
from bnbench.data.identity import check_key, raw_key
from bnbench.data.mirrors import MIRROR, copy, is_local, mirrors
from bnbench.params.dataset_schema import Dataset

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """A file to download.

    Attributes:
        folder: the destination.
        name: its path below `folder`, and below a mirror.
        declared: the checksum that it must have, `md5:...` or `sha256:...`.
    """

    folder: Path
    name: str
    declared: str

    @property
    def path(self) -> Path:
        """The final path."""
        return self.folder / self.name

    @property
    def part(self) -> Path:
        """The path of the incomplete or unverified download."""
        return self.path.with_name(f"{self.path.name}.part")

    def checksum(self, file: Path) -> str:
        """Return the checksum of `file`, in the form of the declared one."""
        algorithm = self.declared.partition(":")[0]
        return f"{algorithm}:{checksum(file, algorithm)}"

    def is_complete(self) -> bool:
        """Return whether the file exists with the declared checksum."""
        return self.path.is_file() and self.checksum(self.path) == self.declared


def download(name: str, dataset: Dataset, out: Path, patience: Patience | None = None) -> None:
    """Download the files of `dataset` into folder `out`, which then holds them and nothing else.

    Existing files with the right checksum are retained. An interrupted download leaves `FILE.part`, from which the next
    call resumes. The mirror in the environment variable BNBENCH_MIRROR is tried first. With an `archive`, local mirrors
    may hold the files themselves; otherwise the archive is downloaded, unpacked and removed.

    Args:
        name: the key of the data set in the parameter file.
        dataset: its declaration.
        out: the destination.
        patience: time limits and pauses for mirrors; None: the defaults.

    Raises:
        UserError: a mirror of unknown kind, foreign files in `out`, an `out` that is named after other files.
        DataError: no mirror has a file with the declared checksum, or an archive that cannot be trusted.
        SystemFault: `out` cannot be written.
    """
    bases = mirrors(name, dataset)
    if not dataset.files:
        return  # the data are part of a library
    check_key(out, raw_key(dataset), f"datasets.{name}.files")
    fetcher = Fetcher(name, bases, patience or Patience())
    with explained(out), locks.all_of([locks.of(out)]):
        archives = [Wanted(out, file, declared) for file, declared in dataset.archive.items()]
        for file, declared in dataset.files.items():
            if Path(file).name == LISTING:
                fetcher.fetch(Wanted(out, file, declared))
        files = [Wanted(out, file, declared) for file, declared in expanded(dataset.files, out).items()]
        _clean(name, out, [*files, *archives])
        for archive in archives:
            _fetch_archive(archive, files, fetcher)
        for wanted in files:
            fetcher.fetch(wanted)
        for wanted in [*files, *archives]:
            wanted.part.unlink(missing_ok=True)


def _fetch_archive(archive: Wanted, files: list[Wanted], fetcher: "Fetcher") -> None:
    """Copy the unpacked files from local mirrors, or download the archive and unpack all of them."""
    local = Fetcher(fetcher.name, [bases for bases in fetcher.mirrors if is_local(bases[0])], fetcher.patience)
    try:
        for wanted in files:
            local.fetch(wanted)
    except NotServed as unpacked:
        try:
            fetcher.fetch(archive)
        except NotServed as error:
            raise NotServed(
                fetcher.name, f"{archive.name}, or {unpacked.what}", error.failures + unpacked.failures
            ) from None
        _unpack(archive, files)
    archive.path.unlink(missing_ok=True)


def _unpack(archive: Wanted, files: list[Wanted]) -> None:
    try:
        unpack(archive.path, {wanted.name: wanted.part for wanted in files})
        for wanted in files:
            try:
                _accept(wanted)
            except MirrorError as error:
                raise DataError(f"{archive.path}: its {wanted.name} is not the declared one: {error}") from None
    finally:
        for wanted in files:
            wanted.part.unlink(missing_ok=True)


def _clean(name: str, out: Path, files: list[Wanted]) -> None:
    """Remove the temporary files of a killed download from `out`, and refuse a folder with foreign files.

    Foreign files are never deleted: they may be the only copy of something.

    Raises:
        UserError: there are foreign files.
    """
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
            f"{out} must hold the files of datasets.{name} alone, but it also holds: {', '.join(foreign[:20])}; "
            "move that away, or download into another folder"
        )


class NotServed(DataError):
    """The error that no mirror gave a file."""

    def __init__(self, name: str, what: str, failures: list[str]) -> None:
        super().__init__(
            f"{name}: no mirror gave {what}. Tried:\n"
            + "".join(f"  {line}\n" for line in failures or ["no mirror is declared"])
            + f"Set {MIRROR} to a folder that holds the file, or add a mirror to datasets.{name}.mirrors "
            "in params.yaml."
        )
        self.what, self.failures = what, failures


@dataclass
class Fetcher:
    """Downloads a data set's files, each from the mirror that served last or the next one that has it."""

    name: str
    mirrors: list[list[str]]
    patience: Patience

    def fetch(self, wanted: Wanted) -> None:
        """Download one file, unless it exists with the declared checksum.

        Raises:
            NotServed: no mirror gave it.
        """
        tried: list[str] = []
        if wanted.is_complete():
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
            tried += failures
        raise NotServed(self.name, f"{wanted.name} with checksum {wanted.declared}", tried)


def _from_mirror(base: str, wanted: Wanted, patience: Patience) -> None:
    if is_local(base):
        copy(base, wanted.name, wanted.part)
        return _accept(wanted)
    address = f"{base}/{quote(wanted.name)}"
    fetch(address, wanted.part, patience)
    try:
        return _accept(wanted)
    except MirrorError as error:  # it may have been resumed from the beginning of another file
        log.info("%s: %s; downloading again from the start", address, error)
    fetch(address, wanted.part, patience)
    return _accept(wanted)


def _accept(wanted: Wanted) -> None:
    """Give a download its final name if its checksum is right, else remove it.

    Raises:
        MirrorError: another checksum.
    """
    actual, size = wanted.checksum(wanted.part), wanted.part.stat().st_size
    if actual != wanted.declared:
        with wanted.part.open("rb") as file:
            start = file.read(512).lstrip().lower()
        wanted.part.unlink()
        page = ", an HTML page (a login, an error?)" if start.startswith((b"<!doctype html", b"<html")) else ""
        raise MirrorError(f"wrong checksum {actual}, {size} bytes{page}")
    with atomic(wanted.path) as temporary:
        wanted.part.replace(temporary)
