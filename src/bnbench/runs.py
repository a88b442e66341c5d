"""A stored run's `run.json`: it bears the checksums of the run's files and of itself, and is held against them."""

from pathlib import Path
from typing import Any

from bnbench.data import seal
from bnbench.errors import UserError
from bnbench.files import Unreadable, checksum, read_json, write_json


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
        record = read_json(path)
    except FileNotFoundError:
        raise damaged(folder, f"there is no {path}") from None
    except Unreadable as error:
        raise damaged(folder, f"{path}: {error.reason}") from None
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
