"""A stored run's `run.json`: it bears the checksums of the run's files and of itself, and is held against them."""

from pathlib import Path
from typing import Any

import orjson

from bnbench.data import seal
from bnbench.errors import UserError
from bnbench.files import checksum, digest, write_json


def identity(config: dict[str, Any], data: str, trainer_version: int) -> str:
    """Return a run's id: the hash of all that decides its result, settings, data's fingerprint, trainer's version."""
    return digest(config, data, trainer_version)


def check_pack(pack: dict[str, Any], data: str, trainer_version: int) -> None:
    """Check that each run of a pack has the id of its settings on these data; its result would be stored under it.

    Raises:
        UserError: one has not.
    """
    where = pack["augmented"] or pack["data"]
    for name, config in pack["runs"].items():
        if (made := identity(config, data, trainer_version)) != name:
            raise UserError(
                f"pack {pack['id']} has run {name}, but its settings on the data in {where} "
                f"(fingerprint {data}), by trainer version {trainer_version}, are run {made}; the job was planned from "
                "other parameters or by another version, start `snakemake` again"
            )


def conclude(folder: Path, record: dict[str, Any]) -> None:
    """Write a run's `run.json`: `record`, the checksums of the folder's other files, and its own digest."""
    files = {path.name: checksum(path, "sha256") for path in folder.iterdir() if path.name != "run.json"}
    write_json(folder / "run.json", seal({**record, "files": files}))


def read(folder: Path) -> dict[str, Any]:
    """A run's `run.json`, after it and all files of the run have shown to be as they were written.

    Raises:
        UserError: a file is missing, altered, truncated, or no part of the run; or the folder's name is not the id
            that the run's settings, data and trainer version make.
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
    _check_identity(folder, record)
    return record


def _check_identity(folder: Path, record: dict[str, Any]) -> None:
    made = identity(record["config"], record["data"], record["trainer_version"])
    if made == record["run_id"] != folder.name:  # a good run in the wrong place
        raise UserError(
            f"{folder} holds run {made}, whole, under another run's name.\n"
            f"Rename the folder to {folder.with_name(made)}; if that exists, delete {folder}."
        )
    if made != folder.name:
        problem = (
            f"its settings, data (fingerprint {record['data']}) and trainer version {record['trainer_version']} are "
            f"those of run {made}, so it was trained on other data or by other settings than its name says"
        )
        raise damaged(folder, problem)


def damaged(folder: Path, problem: object) -> UserError:
    """The refusal of a run: what is wrong, and the way out."""
    return UserError(
        f"run {folder.name} in the run store cannot be used: {problem}.\n"
        f"Delete the folder {folder} and start again: only that run is trained anew."
    )
