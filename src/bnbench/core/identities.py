"""Identities: beside what a stage wrote lies a file that names each of its files, and its digest.

The identity's name says what the files were made from (see `plan`), its content what they were when they were written.
It is written last and removed first. Whoever reads one of the files takes it from here, and so never takes an altered
one; a start removes an identity whose files are not as it names them, and so asks for the stage.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnbench.core.atomic import check_file, explained
from bnbench.core.errors import UserError
from bnbench.core.files import checksum, read_sealed, read_whole, write_sealed
from bnbench.core.paths import RELATIVE

REMEDY = "wait for the end of other starts, then start snakemake, which makes anew what is not as it was written"
ALTERED = "it was altered or is just being made anew"


@dataclass(frozen=True)
class Stage:
    """Where a stage's identity lies, and what there is of its results where it has none."""

    folder: Path
    pattern: str
    results: str

    def path(self, identity: str) -> Path:
        """Return the path of an identity, relative to the project's folder."""
        return self.folder / self.pattern.replace("*", identity)


# all that `collect` writes into the folder of tables
BOTH = ("runs", "history", "summary", "confusion", "probes")
TABLES = (*(f"{name}.{kind}" for name in BOTH for kind in ("parquet", "csv")), "curves.csv")
STAGES = {
    "tables": Stage(RELATIVE.tables, "identity-*.json", str(RELATIVE.tables / "*.parquet")),
    "figures": Stage(RELATIVE.identities, "figures-*.json", str(RELATIVE.figures / "*" / "*.svg")),
    "report": Stage(RELATIVE.identities, "report-*.json", str(RELATIVE.reports / "report.html")),
}


Seen = dict[str, Any]  # a file's `bytes`, how many, and `sha256`


def seen(path: Path) -> Seen:
    """What an identity says of a file."""
    return {"bytes": path.stat().st_size, "sha256": checksum(path, "sha256")}


@dataclass(frozen=True)
class Identity:
    """What a stage wrote: each file's size and digest by its path from the identity; of what it made that: likewise."""

    path: Path
    files: dict[str, Seen]
    made_from: dict[str, Seen]
    about: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> "Identity":
        """The identity at `path`.

        Raises:
            UserError: there is none, it was altered, or it is that of something else.
        """
        record = read_sealed(path, REMEDY)
        files, made_from = record.get("files"), record.get("made_from")
        own = path.stem.partition("-")[2] in record.values()
        if not own or not isinstance(files, dict) or not isinstance(made_from, dict):
            raise UserError(f"{path}: it is not the identity that its name says; {REMEDY}")
        return cls(path, files, made_from, record)

    @property
    def here(self) -> dict[str, Seen]:
        """Itself, as what something else is made from."""
        return {str(self.path): seen(self.path)}

    def content(self, path: Path) -> bytes:
        """What the stage wrote to the file at `path`.

        Raises:
            UserError: that is not what is there.
        """
        expected = self.files.get(_from(self.path, path), {"bytes": 0})
        content = read_whole(path, f"{ALTERED}; {REMEDY}", expected["bytes"])
        if hashlib.sha256(content).hexdigest() != expected.get("sha256"):
            raise UserError(f"{path}: {ALTERED}; {REMEDY}")
        return content

    def altered(self) -> Iterator[str]:
        """What is not as the stage wrote it, or was made from something else than is there now; a line each."""
        for name, expected in (self.files | self.made_from).items():
            path = Path(os.path.normpath(self.path.parent / name))
            if not path.exists():
                if name in self.files:
                    yield f"{path} is missing, which {self.path} names"
            elif not path.is_file() or path.stat().st_size != expected["bytes"] or seen(path) != expected:
                what = "was altered" if name in self.files else "is another"
                yield f"{path} {what}: it does not have the digest that {self.path} names"


def _from(identity: Path, path: Path | str) -> str:
    return Path(os.path.relpath(path, identity.parent)).as_posix()


def conclude(
    path: Path, about: dict[str, Any], files: Iterable[Path], made_from: dict[str, Seen] | None = None
) -> None:
    """Write a stage's identity to `path`: `about`, and sizes and digests of the `files` that it wrote.

    Args:
        path: its name says what the files were made from.
        about: what else it says.
        files: all that the stage wrote.
        made_from: those of other stages' identities, as `Identity.here` gives them.
    """
    named = {_from(path, file): seen(file) for file in files}
    others = {_from(path, other): what for other, what in (made_from or {}).items()}
    write_sealed(path, {**about, "files": named, "made_from": others})


def forget(folder: Path, pattern: str) -> None:
    """Remove a stage's identities: from now on its files are not whole."""
    with explained(folder):
        for old in folder.glob(pattern):
            old.unlink()


def only(folder: Path, pattern: str) -> Identity:
    """The one identity that a folder has.

    Raises:
        UserError: it has none, several, or an altered one.
    """
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise UserError(f"{folder} must hold one {pattern}, whose stage has ended, but it holds {len(found)}; {REMEDY}")
    return Identity.read(found[0])


def altered(path: Path) -> list[str]:
    """What is not as it was when the identity at `path` was written, it itself among it; a line each."""
    try:
        return list(Identity.read(path).altered())
    except UserError as error:
        return [str(error).removesuffix(f"; {REMEDY}")]
    except OSError as error:  # another start is just removing one
        return [f"{error.filename}: {error.strerror}, which {path} names"]


def forget_altered(paths: dict[str, Path]) -> Iterator[str]:
    """Remove the identities whose files are not as they were written, so that their stages are asked for; says so.

    Args:
        paths: where the identities lie, by the names of their stages.

    Raises:
        SystemFault: a folder lies in an identity's place.
    """
    for stage, path in paths.items():
        check_file(path)
        if path.exists() and (found := altered(path)):
            more = f", and {len(found) - 1} more" if len(found) > 1 else ""
            with explained(path):
                path.unlink(missing_ok=True)
            yield f"{found[0]}{more}: stage {stage} is done anew"


def trained(store: Path, run_ids: Iterable[str]) -> str:
    """Digest of the runs that tables are made of, as they are in the store now; a run that is not there counts too."""
    state = hashlib.sha256()
    for run_id in sorted(run_ids):
        path = store / run_id / "run.json"
        state.update(f"{run_id} {checksum(path, 'sha256') if path.is_file() else None}\n".encode())
    return state.hexdigest()
