"""Identities: a file beside the outputs of a stage, with the size and digest of each of them.

Its name is the digest of what the outputs were made from (see `plan`). It is written last and removed first, so it
exists only beside complete outputs. Stages read each other's outputs through it, and so never an altered one; a start
of Snakemake removes an identity whose files do not match it, so that the stage is run again.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnbench.core.atomic import check_file, explained
from bnbench.core.errors import UserError
from bnbench.core.files import checksum, read_bytes, read_sealed, write_sealed
from bnbench.core.paths import RELATIVE

REMEDY = "wait until other starts have finished, then start snakemake, which rebuilds what is not as it was written"
ALTERED = "it was altered or is being rebuilt"


@dataclass(frozen=True)
class Stage:
    """Folder and pattern of a stage's identity, and a pattern of its outputs, to notice a missing identity."""

    folder: Path
    pattern: str
    results: str

    def path(self, identity: str) -> Path:
        """Return the path of an identity, relative to the project's folder."""
        return self.folder / self.pattern.replace("*", identity)


# the files that `collect` writes into the folder of tables
BOTH = ("runs", "history", "summary", "confusion", "probes", "claims")
TABLES = (*(f"{name}.{kind}" for name in BOTH for kind in ("parquet", "csv")), "curves.csv")
# of these tables, whose bytes differ between machines; they have an identity of their own, as the others' must not
MACHINE = ("environment", "timings")
MACHINE_TABLES = tuple(f"{name}.{kind}" for name in MACHINE for kind in ("parquet", "csv"))
STAGES = {
    "tables": Stage(RELATIVE.tables, "identity-*.json", str(RELATIVE.tables / "*.parquet")),
    "environment": Stage(RELATIVE.tables, "environment-*.json", str(RELATIVE.tables / "environment.parquet")),
    "figures": Stage(RELATIVE.identities, "figures-*.json", str(RELATIVE.figures / "*" / "*.svg")),
    "report": Stage(RELATIVE.identities, "report-*.json", str(RELATIVE.reports / "report.html")),
}

Seen = dict[str, Any]  # size and digest of a file: `bytes`, `sha256`


def seen(path: Path) -> Seen:
    """Return size and digest of a file."""
    return {"bytes": path.stat().st_size, "sha256": checksum(path, "sha256")}


@dataclass(frozen=True)
class Identity:
    """The outputs of a stage when it finished.

    Args:
        path: the file of the identity.
        files: size and digest of each output, by its path relative to the identity's folder.
        made_from: likewise of the identities of the stages that it read.
        about: the complete record.
    """

    path: Path
    files: dict[str, Seen]
    made_from: dict[str, Seen]
    about: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> "Identity":
        """Read an identity.

        Raises:
            UserError: it is missing, it was altered, or its content does not match its name.
        """
        record = read_sealed(path, REMEDY)
        files, made_from = record.get("files"), record.get("made_from")
        own = path.stem.partition("-")[2] in record.values()
        if not own or not isinstance(files, dict) or not isinstance(made_from, dict):
            raise UserError(f"{path}: its content does not match its name; {REMEDY}")
        return cls(path, files, made_from, record)

    @property
    def here(self) -> dict[str, Seen]:
        """Its own size and digest by its path, as `made_from` of a later stage."""
        return {str(self.path): seen(self.path)}

    def content(self, path: Path) -> bytes:
        """Read an output of the stage, and check it.

        Raises:
            UserError: it is not as the stage wrote it.
        """
        expected = self.files.get(_from(self.path, path), {"bytes": 0})
        content = read_bytes(path, f"{ALTERED}; {REMEDY}", expected["bytes"])
        if hashlib.sha256(content).hexdigest() != expected.get("sha256"):
            raise UserError(f"{path}: {ALTERED}; {REMEDY}")
        return content

    def altered(self) -> Iterator[str]:
        """Yield a line for each output that is not as written, and each input identity that has changed since."""
        for name, expected in (self.files | self.made_from).items():
            path = Path(os.path.normpath(self.path.parent / name))
            if not path.exists():
                if name in self.files:
                    yield f"{path} is missing, but {self.path} names it"
            elif not path.is_file() or path.stat().st_size != expected["bytes"] or seen(path) != expected:
                what = "was altered" if name in self.files else "was replaced"
                yield f"{path} {what}: it does not have the digest in {self.path}"


def _from(identity: Path, path: Path | str) -> str:
    return Path(os.path.relpath(path, identity.parent)).as_posix()


def conclude(
    path: Path, about: dict[str, Any], files: Iterable[Path], made_from: dict[str, Seen] | None = None
) -> None:
    """Write a stage's identity, when all of its outputs are written.

    Args:
        path: the identity's file; its name contains the digest of what the outputs were made from.
        about: further keys of the record.
        files: the outputs.
        made_from: the identities of the stages that were read, as `Identity.here` gives them.
    """
    named = {_from(path, file): seen(file) for file in files}
    others = {_from(path, other): what for other, what in (made_from or {}).items()}
    write_sealed(path, {**about, "files": named, "made_from": others})


def forget(folder: Path, pattern: str) -> None:
    """Remove a stage's identities, before its outputs are written again."""
    with explained(folder):
        for old in folder.glob(pattern):
            old.unlink()


def only(folder: Path, pattern: str) -> Identity:
    """Read the only identity in a folder.

    Raises:
        UserError: there is none, there are several, or it was altered.
    """
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise UserError(f"{folder} must hold one {pattern}, of a finished stage, but it holds {len(found)}; {REMEDY}")
    return Identity.read(found[0])


def altered(path: Path) -> list[str]:
    """Return a line for each file that is not as it was when the identity was written, the identity included."""
    try:
        return list(Identity.read(path).altered())
    except UserError as error:
        return [str(error).removesuffix(f"; {REMEDY}")]
    except OSError as error:  # another start is removing one
        return [f"{error.filename}: {error.strerror}, but {path} names it"]


def forget_altered(paths: dict[str, Path]) -> Iterator[str]:
    """Remove the identities whose files are not as they were written, so that their stages run again.

    Args:
        paths: the identities' files by stage.

    Yields:
        A line for each identity that was removed.

    Raises:
        SystemFault: an identity's path is a folder.
    """
    for stage, path in paths.items():
        check_file(path)
        if path.exists() and (found := altered(path)):
            more = f", and {len(found) - 1} more" if len(found) > 1 else ""
            with explained(path):
                path.unlink(missing_ok=True)
            yield f"{found[0]}{more}: stage {stage} runs again"


def trained(store: Path, run_ids: Iterable[str]) -> str:
    """Return the digest of these runs as they are in the store now; a missing run is part of it."""
    state = hashlib.sha256()
    for run_id in sorted(run_ids):
        path = store / run_id / "run.json"
        state.update(f"{run_id} {checksum(path, 'sha256') if path.is_file() else None}\n".encode())
    return state.hexdigest()
