"""Diagnosis of a project's folder: each fault with its remedy. Reads only; changes nothing."""

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import bnbench
from bnbench.core import starts
from bnbench.core.errors import UserError
from bnbench.core.git import revision
from bnbench.core.paths import Project
from bnbench.data.prepared import Prepared
from bnbench.manage import dvc_checks
from bnbench.manage.derived import own_files
from bnbench.manage.findings import Finding
from bnbench.manage.processes import running
from bnbench.manage.prune import leftovers
from bnbench.plan.identity import TRAINER_VERSION, trainer_source
from bnbench.store import records, run_record


def code(root: Path) -> Iterator[Finding]:
    """Check that the imported package is the one in this folder."""
    here, used = (root / "src" / "bnbench").resolve(), Path(bnbench.__file__).parent.resolve()
    if here.is_dir() and here != used:
        what = f"bnbench is imported from {used}, not from {here}"
        yield Finding(what, "export PYTHONPATH=src, or run pip install -e . here")


def git(root: Path) -> Iterator[Finding]:
    """Check that git reads the folder's repository; DVC refuses to work without one."""
    found = revision(root)
    if found and "refused" in found:
        what = f"git refuses to read {root.resolve()}: {found['refused']}; new runs are recorded without a commit"
        yield Finding(what, f"git -C {root.resolve()} status, which names the remedy")
    if found is None and (root / ".dvc").is_dir():
        remedy = "`snakemake` needs none; for DVC: git init, or dvc config --local core.no_scm true"
        yield Finding(f"no git repository in {root.resolve()}", remedy, note=True)


def snakemake_lock(root: Path) -> Iterator[Finding]:
    """Check that Snakemake's lock, if there is one, is held by a live Snakemake."""
    locks = sorted((root / ".snakemake" / "locks").glob("*"))
    alive = [] if (start := starts.working(root)) is None else [start]
    if locks and (pids := running("snakemake", root) or alive):
        what = f"snakemake is running here (process {pids[0]})"
        yield Finding(what, "wait until it has finished before the next start", note=True)
    elif locks and starts.unproven(root) is None:
        yield Finding(f"{locks[0]} is a lock of a killed Snakemake", "the next start removes it", note=True)
    elif locks:
        what = f"{locks[0]} is a lock of a killed Snakemake; none is running here on this machine"
        yield Finding(what, "if none is running here on another machine either: snakemake --unlock")


def half_written(root: Path) -> Iterator[Finding]:
    """Check that no killed process left temporary files or folders."""
    for path, _ in leftovers(root):
        yield Finding(f"{path} is incomplete: the process that wrote it was killed", f"rm -r {path}")


def run_store(root: Path) -> Iterator[Finding]:
    """Check that every run is complete and unaltered; note runs of other trainer versions or sources."""
    store, sources = Project(root).runs, records.sources(Project(root).provenance)
    versions, others, mine = dict[int, int](), 0, {trainer_source()}
    for path in sorted({*store.glob("[!.]*")} - {*run_record.run_folders(store)}):
        yield Finding(f"{path} is not a run, and is ignored in the run store", f"move {path} away", note=True)
    for folder in run_record.run_folders(store):
        try:
            record = run_record.read(folder)
        except UserError as error:
            yield Finding.of(error)
            continue
        versions[record["trainer_version"]] = versions.get(record["trainer_version"], 0) + 1
        others += bool(sources.get(folder.name, mine) - mine)
    yield from _other_trainers(versions, others)


def _other_trainers(versions: dict[int, int], others: int) -> Iterator[Finding]:
    """Yield notes about runs that this trainer would not train.

    Args:
        versions: the number of runs by trainer version.
        others: the number of runs that other source code trained.
    """
    for version, count in versions.items():
        if version != TRAINER_VERSION:
            what = (
                f"{count} runs have trainer version {version}; this is version {TRAINER_VERSION}, which retrains them"
            )
            yield Finding(what, "bnbench prune lists them", note=True)
    if others:
        what = f"{others} runs were trained by different source code of the same trainer version {TRAINER_VERSION}"
        remedy = "if training changed its meaning, raise TRAINER_VERSION; bnbench explain RUN_ID --check retrains a run"
        yield Finding(what, remedy, note=True)


def prepared_data(root: Path) -> Iterator[Finding]:
    """Check that prepared data are complete and unaltered."""
    for folder in sorted(Project(root).prepared.glob("[!.]*")):
        try:
            Prepared.read(folder)
        except UserError as error:
            yield Finding.of(error)


def slurm(_root: Path) -> Iterator[Finding]:
    """Check that a machine with Slurm has Snakemake's plugin; without it Snakemake only reports `invalid choice`."""
    if shutil.which("sbatch") and importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        what = "Slurm is installed, but not Snakemake's plugin for it, which the profiles slurm and slurm-gpu need"
        yield Finding(what, "pip install -e '.[slurm]'", note=True)


CHECKS: tuple[Callable[[Path], Iterator[Finding]], ...] = (
    *(code, git, snakemake_lock, dvc_checks.dvc_lock, half_written, run_store, prepared_data, own_files),
    *(dvc_checks.dvc_files, dvc_checks.dvc_cache, dvc_checks.remote, slurm),
)


def examine(root: Path = Path()) -> Iterator[Finding]:
    """Yield the findings of all checks. A check that fails is a finding too, and hides no other."""
    for check in CHECKS:
        try:
            yield from check(root)
        except UserError as error:
            yield Finding.of(error)
        except Exception as error:
            what = f"check {check.__name__} failed: {type(error).__name__}: {error}"
            yield Finding(what, "restore or move away the file that the message names; then run bnbench doctor again")
