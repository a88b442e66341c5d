"""Checks of DVC in the project's folder: its locks, `dvc.lock`, its cache, its remote."""

import contextlib
import tempfile
from collections.abc import Iterator
from configparser import ConfigParser, Error
from pathlib import Path
from typing import Any

from bnbench.core import yaml_reader
from bnbench.core.errors import UserError
from bnbench.core.files import checksum, read_json
from bnbench.manage.findings import Finding
from bnbench.manage.processes import running


def dvc_lock(root: Path) -> Iterator[Finding]:
    """Check that DVC's locks are held by live processes."""
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
    alive = running("dvc", root)
    for pid, command in holders.items():
        if pid in alive:
            yield Finding(f"{command} is running here (process {pid})", "wait until it has finished", note=True)
        else:
            what = f"{path} names process {pid} ({command}), which is no dvc of this folder on this machine"
            yield Finding(what, f"if none is running here on another machine either: rm {path}")


def dvc_files(root: Path) -> Iterator[Finding]:
    """Check that the files named by `dvc.lock` exist with the recorded checksums; runs added since are no fault."""
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
        for path, md5 in _files(root, out):
            if not path.exists():
                what = f"{path} is missing, which dvc.lock names (a clone without, or with an incomplete, dvc pull?)"
                yield Finding(what, f"dvc pull {out['path']}; or snakemake, which rebuilds missing files")
                break
            if md5 and path.is_file() and checksum(path, "md5") != md5:
                what = f"{path} does not have the checksum in dvc.lock: it was altered, or rebuilt and not committed"
                remedy = f"dvc diff lists the changes; dvc checkout {out['path']} reverts, dvc commit records them"
                yield Finding(what, remedy)
                break


def _files(root: Path, out: dict[str, Any]) -> Iterator[tuple[Path, str | None]]:
    """Yield an output's path with its MD5 sum; of a folder also the files that its listing in the cache names."""
    path, md5 = root / out["path"], str(out["md5"])
    if not md5.endswith(".dir"):
        yield path, md5
        return
    yield path, None
    listing = cache(root) / "files" / "md5" / md5[:2] / md5[2:]
    if path.is_dir() and listing.is_file():
        with contextlib.suppress(ValueError):  # `dvc_cache` reports a damaged listing
            yield from ((path / entry["relpath"], entry["md5"]) for entry in read_json(listing))


def settings(root: Path) -> ConfigParser:
    """Return DVC's settings of this folder; those in `config.local`, which is not in git, win."""
    found = ConfigParser(interpolation=None)
    with contextlib.suppress(Error):
        found.read([root / ".dvc" / "config", root / ".dvc" / "config.local"], encoding="utf-8")
    return found


def cache(root: Path) -> Path:
    """Return the folder of DVC's cache."""
    return root / ".dvc" / settings(root).get("cache", "dir", fallback="cache")


def dvc_cache(root: Path) -> Iterator[Finding]:
    """Check that DVC's cache is writable, and that its objects have the MD5 sums in their names (DVC does not)."""
    if not (root / ".dvc").is_dir():
        return
    folder = cache(root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        what = f"DVC's cache {folder} cannot be written: {error.strerror}"
        yield Finding(what, "change its permissions, or choose another: dvc cache dir --local FOLDER")
    for path in sorted((folder / "files" / "md5").glob("??/*")):
        expected = path.parent.name + path.name.removesuffix(".dir")
        if len(expected) == 32 and (not path.is_file() or checksum(path, "md5") != expected):
            what = f"{path} in DVC's cache is damaged; dvc checkout and dvc pull would deliver it"
            remedy = f"rm -rf {path}; then dvc commit if the file in the folder is intact, otherwise dvc fetch"
            yield Finding(what, remedy)


def remote(root: Path) -> Iterator[Finding]:
    """Check that a DVC remote is configured."""
    if (root / ".dvc").is_dir() and not any(
        name.strip("'").startswith("remote ") for name in settings(root).sections()
    ):
        what = "no remote is configured for DVC, so dvc push and dvc pull have no destination"
        yield Finding(what, "dvc remote add --default NAME URL", note=True)
