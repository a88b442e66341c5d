"""Prune: what no study of any tier asks for any more, and what only that needed. Nothing is removed unasked."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from bnbench import records
from bnbench.files import explained
from bnbench.plan import Plan


@dataclass(frozen=True)
class Orphans:
    """What can go: runs, their records, prepared data, checkpoints."""

    runs: list[Path]
    records: list[Path]
    data: list[Path]
    checkpoints: list[Path]

    @property
    def paths(self) -> list[Path]:
        """All of it, what follows from the runs first: what an interrupted removal leaves is found again."""
        return [*self.records, *self.checkpoints, *self.data, *self.runs]


def orphans(plans: list[Plan]) -> Orphans:
    """What none of these plans, of one folder, asks for."""
    root, stored = plans[0].root, plans[0].stored
    asked = set[str]().union(*(plan.runs for plan in plans))
    gone = stored - asked
    used = {f"{name}-{key}" for plan in plans for name, key in plan.keys.items()}
    data = [folder for folder in (root / "data" / "prepared").glob("[!.]*") if folder.name not in used]
    saved = (root / ".bnbench" / "checkpoints").glob("[!.]*")
    return Orphans(
        runs=[root / "results" / "runs" / name for name in sorted(gone)],
        records=[path for path, record in _records(root) if asked.isdisjoint(record["runs"])],
        data=sorted(data),
        checkpoints=sorted(path for path in saved if path.stem not in asked),
    )


def _records(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Files that tell of packs: wall times, where runs come from. What cannot be used says of no run that it goes."""
    return chain.from_iterable(records.whole(root / "results" / place) for place in records.KINDS)


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else (path,)) if file.is_file())


def remove(paths: list[Path]) -> None:
    """Remove files and folders. A folder is renamed first: it is whole, or it is gone.

    Raises:
        SystemFault: something cannot be removed.
    """
    for path in paths:
        with explained(path):
            if path.is_dir():
                shutil.rmtree(path.rename(path.with_name(f".{path.name}.pruned")))
            else:
                path.unlink(missing_ok=True)
