"""Prune: what no study of any tier asks for any more, and what only that needed. Nothing is removed unasked."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bnbench.core import locks, paths, starts
from bnbench.core.atomic import explained, made_for
from bnbench.core.paths import Output, Project
from bnbench.plan.plan import Plan
from bnbench.store import run_record

ABANDONED = 24 * 3600  # seconds after which a temporary file, which no lock is held for, is nobody's any more


@dataclass(frozen=True)
class Orphan:
    """What can go, and the locks of those who may be at work on it."""

    path: Path
    guards: tuple[locks.Lock, ...] = ()


def orphans(plans: list[Plan]) -> list[Orphan]:
    """What none of these plans, of one folder, asks for, in the order in which it is to be removed."""
    root, wanted = plans[0].root, {paths.ALWAYS}.union(*map(asked, plans))
    working = starts.working(root) is not None
    found = [Orphan(path, (locks.of(target),)) if target else Orphan(path) for path, target in leftovers(root)]
    for output in paths.OUTPUTS:
        if working and output.keys is paths.transient:
            continue
        for path in output.found(root):
            keys = list(output.keys(root, path))
            if wanted.isdisjoint(keys) and (output is not paths.RUNS or run_record.RUN_ID.fullmatch(path.name)):
                found.append(Orphan(root / path, _guards(root, output, path, keys)))
    return found


def asked(plan: Plan) -> set[str]:
    """What a plan asks for, as `core.paths` names it."""
    datasets = plan.resolved.datasets
    data = {
        "download": [raw for name in datasets if (raw := plan.raw(name))],
        "prepare": [str(Project().prepared_of(name, key)) for name, key in plan.keys.items()],
        "augment": [folder for folder, _ in plan.augmented.values()],
    }
    logs = {f"{stage} {'-'.join(Path(path).parts[2:])}" for stage, paths in data.items() for path in paths}
    return {*plan.runs, plan.ids.report, *logs, *(path for paths in data.values() for path in paths)}


def leftovers(root: Path) -> Iterator[tuple[Path, Path | None]]:
    """What killed processes left half-written, and for a folder, whose lock tells that nobody writes it, its target."""
    folders = {path.parent for output in paths.OUTPUTS for path in root.glob(str(output.pattern))}
    folders |= {root / folder for folder in paths.folders()}
    for path in sorted(path for folder in folders for path in folder.glob(".*")):
        if (name := made_for(path)) is None:
            continue
        with contextlib.suppress(FileNotFoundError):  # it was written to its end
            if path.is_dir() and locks.holder(locks.of(path.with_name(name))) is None:
                yield path, path.with_name(name)
            elif path.is_file() and time.time() - path.stat().st_mtime > ABANDONED:
                yield path, None


def _guards(root: Path, output: Output, path: Path, keys: list[str]) -> tuple[locks.Lock, ...]:
    """The locks of the runs or the data that a path belongs to; what is about no such thing has none."""
    if output.keys is paths.by_path:
        return (locks.of(root / path.with_name(path.name.removesuffix(".done"))),)
    names = filter(run_record.RUN_ID.fullmatch, keys) if output.folder != Project().plans else ()
    return tuple(sorted(locks.of(Project(root).runs / name) for name in names))


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    total = 0
    for file in path.rglob("*") if path.is_dir() else (path,):
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            total += file.stat().st_size if file.is_file() else 0
    return total


def remove(found: list[Orphan]) -> list[Path]:
    """Remove files and folders. A folder is renamed first: it is whole, or it is gone.

    Returns:
        What was left, because another process works on it.

    Raises:
        SystemFault: something cannot be removed.
    """
    left = []
    for orphan in found:
        path = orphan.path
        with contextlib.ExitStack() as held, explained(path):
            if not all(held.enter_context(locks.if_free(lock)) for lock in orphan.guards):
                left.append(path)
            elif path.is_symlink() or not path.is_dir():
                path.unlink(missing_ok=True)
            else:
                hidden = path if made_for(path) else path.rename(path.with_name(f".{path.name}.pruned"))
                shutil.rmtree(hidden)
    return left
