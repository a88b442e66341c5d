"""A stored run's `run.json`: it bears the checksums of the run's files and of itself, and is held against them."""

import re
from pathlib import Path
from typing import Any

import orjson

from bnbench.data import seal
from bnbench.errors import UserError
from bnbench.files import checksum, write_json

RUN_ID = re.compile("[0-9a-f]{16}")


def run_folders(store: Path) -> list[Path]:
    """The folders of a run store that are runs, in the order of their ids, whole or not; nothing else there is one."""
    return sorted(path for path in store.glob("[!.]*") if RUN_ID.fullmatch(path.name)) if store.is_dir() else []


def conclude(folder: Path, record: dict[str, Any]) -> None:
    """Write a run's `run.json`: `record`, the checksums of the folder's other files, and its own digest."""
    files = {path.name: checksum(path, "sha256") for path in folder.iterdir() if path.name != "run.json"}
    write_json(folder / "run.json", seal({**record, "files": files}))


def read(folder: Path) -> dict[str, Any]:
    """A run's `run.json`, after it and all files of the run have shown to be as they were written.

    Raises:
        UserError: a file is missing, altered, truncated, or no part of the run.
    """
    path = folder / "run.json"
    try:
        record = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise damaged(folder, f"there is no {path}") from None
    except ValueError as error:
        raise damaged(folder, f"{path} is no JSON: {error}") from None
    if not isinstance(record, dict) or seal(record) != record:
        raise damaged(folder, f"{path} was altered: it does not have the digest that it names")
    found = {file.name for file in folder.iterdir()} - {"run.json"}
    for name, recorded in record["files"].items():
        if name not in found:
            raise damaged(folder, f"there is no {folder / name}")
        if (seen := checksum(folder / name, "sha256")) != recorded:
            raise damaged(folder, f"{folder / name} was altered: sha256 {seen}, recorded is {recorded}")
    if extra := found - record["files"].keys():
        raise damaged(folder, f"{folder / min(extra)} is no part of the run")
    return record


def damaged(folder: Path, problem: object) -> UserError:
    """The refusal of a run: what is wrong, and the way out."""
    return UserError(
        f"run {folder.name} in the run store cannot be used: {problem}.\n"
        f"Delete the folder {folder} and start again: only that run is trained anew."
    )
