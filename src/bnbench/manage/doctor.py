"""Doctor: what is wrong with a working folder, and for each thing what to do. Looks only; changes nothing."""

import contextlib
import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Iterator
from configparser import ConfigParser, Error
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import bnbench
from bnbench.core import starts, yaml_reader
from bnbench.core.errors import UserError
from bnbench.core.files import checksum, read_json
from bnbench.core.git import revision
from bnbench.core.paths import Project
from bnbench.data.prepared import Prepared
from bnbench.manage import derived
from bnbench.manage.prune import leftovers
from bnbench.plan.identity import TRAINER_VERSION, trainer_source
from bnbench.store import records, run_record


@dataclass(frozen=True)
class Finding:
    """What is wrong, and what to do. A note is worth knowing, and harms nothing."""

    what: str
    remedy: str
    note: bool = False

    def __str__(self) -> str:
        return f"{'note: ' if self.note else ''}{self.what}\n  -> {self.remedy}"


def code(root: Path) -> Iterator[Finding]:
    """The code that runs is the code beside the results."""
    here, used = (root / "src" / "bnbench").resolve(), Path(bnbench.__file__).parent.resolve()
    if here.is_dir() and here != used:
        yield Finding(f"the code that runs is {used}, not {here}", "export PYTHONPATH=src, or pip install -e . here")


def git(root: Path) -> Iterator[Finding]:
    """There is a repository, without which DVC refuses to work."""
    told = revision(root)
    if told and "refused" in told:
        what = f"git says nothing of {root.resolve()}: {told['refused']}; so no commit is recorded with new runs"
        yield Finding(what, f"git -C {root.resolve()} status, which names the remedy")
    if told is None and (root / ".dvc").is_dir():
        remedy = "`snakemake` needs none; for DVC: git init, or dvc config --local core.no_scm true"
        yield Finding(f"no git repository in {root.resolve()}", remedy, note=True)


def _holders(word: str, root: Path) -> list[int]:
    """Processes of this machine that run a program of that name in that folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            names = [Path(part).name for part in process.cmdline()[:3]]
            if word in names and Path(process.cwd()) == root.resolve():
                found.append(process.pid)
    return found


def snakemake_lock(root: Path) -> Iterator[Finding]:
    """Snakemake's lock is held by a Snakemake that lives."""
    locks = sorted((root / ".snakemake" / "locks").glob("*"))
    alive = [] if (start := starts.working(root)) is None else [start]
    if locks and (pids := _holders("snakemake", root) or alive):
        yield Finding(f"snakemake works here (process {pids[0]})", "wait for its end before the next start", note=True)
    elif locks and starts.unproven(root) is None:
        yield Finding(f"{locks[0]} is a lock of a Snakemake that was killed", "the next start removes it", note=True)
    elif locks:
        what = f"{locks[0]} is a lock of a Snakemake that was killed; none runs here on this machine"
        yield Finding(what, "if none runs here on another machine either: snakemake --unlock")


def dvc_lock(root: Path) -> Iterator[Finding]:
    """DVC's locks are held by processes that live."""
    path = root / ".dvc" / "tmp" / "rwlock"
    if not path.is_file():
        return
    try:
        held = read_json(path)
        entries = [*held.get("write", {}).values(), *(one for many in held.get("read", {}).values() for one in many)]
        holders = {int(entry["pid"]): entry["cmd"] for entry in entries}
    except (ValueError, KeyError, TypeError, AttributeError):
        yield Finding(f"{path} is damaged, so every dvc command fails", f"when no dvc runs here: rm {path}")
        return
    alive = _holders("dvc", root)
    for pid, command in holders.items():
        if pid in alive:
            yield Finding(f"{command} works here (process {pid})", "wait for its end", note=True)
        else:
            what = f"{path} names process {pid} ({command}), which is no dvc of this folder on this machine"
            yield Finding(what, f"if none runs here on another machine either: rm {path}")


def half_written(root: Path) -> Iterator[Finding]:
    """What a killed process left of what it was writing."""
    for path, _ in leftovers(root):
        yield Finding(f"{path} was left half-written by a process that was killed", f"rm -r {path}")


def run_store(root: Path) -> Iterator[Finding]:
    """Every run is whole and as it was written."""
    versions, sources = dict[int, int](), provenance_sources(root)
    others, mine = 0, {trainer_source()}
    store = Project(root).runs
    for path in sorted({*store.glob("[!.]*")} - {*run_record.run_folders(store)}):
        yield Finding(f"{path} is no run, and so no part of the run store", f"move {path} away", note=True)
    for folder in run_record.run_folders(store):
        try:
            record = run_record.read(folder)
        except UserError as error:
            what, _, remedy = str(error).partition("\n")
            yield Finding(what, remedy)
            continue
        versions[record["trainer_version"]] = versions.get(record["trainer_version"], 0) + 1
        others += bool(sources.get(folder.name, mine) - mine)
    for version, count in versions.items():
        if version != TRAINER_VERSION:
            what = (
                f"{count} runs are of trainer version {version}; this is version {TRAINER_VERSION}, which trains anew"
            )
            yield Finding(what, "bnbench prune lists them", note=True)
    if others:
        what = f"{others} runs were trained by other source of the same trainer version {TRAINER_VERSION}"
        remedy = "if training means something else now, raise TRAINER_VERSION; bnbench explain RUN_ID --check tells"
        yield Finding(what, remedy, note=True)


def provenance_sources(root: Path) -> dict[str, set[str]]:
    """For each run the source that trained it, as far as it is known."""
    found: dict[str, set[str]] = {}
    for _, record in records.readable(Project(root).provenance):
        for name in record["runs"]:
            found.setdefault(name, set()).add(record["source"])
    return found


def own_files(root: Path) -> Iterator[Finding]:
    """Tables, figures, report, plans and records are as they were written."""
    yield from (Finding(what, remedy) for what, remedy in derived.problems(root))


def prepared_data(root: Path) -> Iterator[Finding]:
    """Prepared data are whole and as they were written."""
    for folder in sorted(Project(root).prepared.glob("[!.]*")):
        try:
            Prepared.read(folder)
        except UserError as error:
            what, _, remedy = str(error).rpartition("; ")
            yield Finding(what, remedy)


def dvc_files(root: Path) -> Iterator[Finding]:
    """What `dvc.lock` names is here, byte for byte; runs that came later are no fault."""
    lock = root / "dvc.lock"
    if not lock.is_file():
        return
    try:
        stages = yaml_reader.read(lock).values["stages"]
        outs = [out for stage in stages.values() for out in stage.get("outs", []) if "md5" in out and "path" in out]
    except (UserError, KeyError, TypeError, AttributeError) as error:
        yield Finding(f"{lock} is damaged: {error}", f"git checkout {lock}; without git: rm {lock}, then dvc commit")
        return
    for out in outs:
        for path, md5 in _parts(root, out):
            if not path.exists():
                what = f"{path} is missing, which dvc.lock names (a clone that was not pulled, or only half?)"
                yield Finding(what, f"dvc pull {out['path']}; or snakemake, which makes anew what is missing")
                break
            if md5 and path.is_file() and checksum(path, "md5") != md5:
                what = f"{path} is not what dvc.lock names: altered, or made anew and not committed"
                yield Finding(what, f"dvc diff shows it; dvc checkout {out['path']} goes back, dvc commit keeps it")
                break


def _parts(root: Path, out: dict[str, Any]) -> Iterator[tuple[Path, str | None]]:
    """An output's path; and where the cache knows them, its files with their MD5 sums."""
    path, md5 = root / out["path"], str(out["md5"])
    if not md5.endswith(".dir"):
        yield path, md5
        return
    yield path, None
    listing = _object(cache(root), md5)
    if path.is_dir() and listing.is_file():
        with contextlib.suppress(ValueError):  # a damaged listing is told of by `dvc_cache`
            yield from ((path / entry["relpath"], entry["md5"]) for entry in read_json(listing))


def _object(folder: Path, md5: str) -> Path:
    return folder / "files" / "md5" / md5[:2] / md5[2:]


def settings(root: Path) -> ConfigParser:
    """DVC's settings of this folder, those that are not in git last."""
    found = ConfigParser(interpolation=None)
    with contextlib.suppress(Error):
        found.read([root / ".dvc" / "config", root / ".dvc" / "config.local"], encoding="utf-8")
    return found


def cache(root: Path) -> Path:
    """DVC's cache."""
    return root / ".dvc" / settings(root).get("cache", "dir", fallback="cache")


def dvc_cache(root: Path) -> Iterator[Finding]:
    """Objects of DVC's cache are what their names say, at which DVC does not look; the cache can be written."""
    if not (root / ".dvc").is_dir():
        return
    folder = cache(root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        what = f"DVC's cache {folder} cannot be written: {error.strerror}"
        yield Finding(what, "change its permissions, or name another: dvc cache dir --local FOLDER")
    for path in sorted((folder / "files" / "md5").glob("??/*")):
        expected = path.parent.name + path.name.removesuffix(".dir")
        if len(expected) == 32 and (not path.is_file() or checksum(path, "md5") != expected):
            what = f"{path} in DVC's cache is damaged; dvc checkout and dvc pull would deliver it"
            yield Finding(what, f"rm -rf {path}; then dvc commit if the file is whole here, dvc fetch if it is not")


def remote(root: Path) -> Iterator[Finding]:
    """There is a place to push to."""
    if (root / ".dvc").is_dir() and not any(
        name.strip("'").startswith("remote ") for name in settings(root).sections()
    ):
        yield Finding(
            "no remote: dvc push and dvc pull have no place", "dvc remote add --default NAME PLACE", note=True
        )


def slurm(_root: Path) -> Iterator[Finding]:
    """Where Slurm is, Snakemake's plugin for it is; without it Snakemake says no more than `invalid choice`."""
    if shutil.which("sbatch") and importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        what = "Slurm is here, but not Snakemake's plugin for it, which the profiles slurm and slurm-gpu need"
        yield Finding(what, "pip install -e '.[slurm]'", note=True)


CHECKS: tuple[Callable[[Path], Iterator[Finding]], ...] = (
    *(code, git, snakemake_lock, dvc_lock, half_written, run_store, prepared_data, own_files, dvc_files, dvc_cache),
    *(remote, slurm),
)


def examine(root: Path = Path()) -> Iterator[Finding]:
    """All findings. A check that fails is one too, and hides no other."""
    for check in CHECKS:
        try:
            yield from check(root)
        except UserError as error:
            what, _, remedy = str(error).partition("; ")
            yield Finding(what, remedy or "see above")
        except Exception as error:
            what = f"{check.__name__} could not be examined to its end: {type(error).__name__}: {error}"
            yield Finding(what, "restore, or move away, what it names; then start bnbench doctor again")
