"""Reading and sealing the folder of a stored run; `run.json` holds the checksums of the other files and of itself.

All content of a run comes from `load`, which verifies every file's checksum first.
"""

import hashlib
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from bnbench.core.errors import UserError
from bnbench.core.files import Unreadable, checksum, digest, parse_json, write_json
from bnbench.data.manifest import seal

AT_THE_END = ("test_loss", "test_accuracy", "official_loss", "official_accuracy")  # measured once, unless evaluate_test


class Stored(BaseModel):
    """Base of the run store's models: further keys are allowed, numbers are finite or null."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, strict=True)


class Identity(Stored):
    """Keys of every `run.json`, of any trainer version."""

    run_id: str
    config: dict[str, Any]
    data: str
    trainer_version: int
    files: dict[str, str]


class Outcome(Identity):
    """A run's `run.json`, of the present trainer version.

    It holds nothing that differs between machines: see `records.Environment`.
    """

    status: Literal["ok", "diverged", "out_of_memory", "crashed"]
    steps: int
    epochs: float
    best_epoch: float | None
    diverged_step: int | None
    last_finite_loss: float | None
    parameters: int | None
    train_loss: float | None
    train_accuracy: float | None
    valid_loss: float | None
    valid_accuracy: float | None
    test_loss: float | None
    test_accuracy: float | None
    official_loss: float | None
    official_accuracy: float | None
    confusion: dict[Literal["test", "official"], list[list[int]]] | None  # true class by predicted one

    @field_validator("confusion")
    @classmethod
    def _square(cls, confusion: dict[str, list[list[int]]] | None) -> dict[str, list[list[int]]] | None:
        for part, matrix in (confusion or {}).items():
            if any(len(row) != len(matrix) for row in matrix):
                raise ValueError(f"the matrix of the part {part} is not square")
        return confusion


class History(Stored):
    """A run's `history.json`: columns of equal length, one entry per evaluation.

    The columns of test sets may be missing if they are measured only at the end. All columns are missing if the run
    diverged before its first evaluation.
    """

    step: list[int]
    epoch: list[float]
    learning_rate: list[float | None]
    train_loss: list[float | None]
    train_accuracy: list[float | None]
    valid_loss: list[float | None]
    valid_accuracy: list[float | None]
    test_loss: list[float | None]
    test_accuracy: list[float | None]
    official_loss: list[float | None]
    official_accuracy: list[float | None]

    @model_validator(mode="before")
    @classmethod
    def _not_measured(cls, columns: Any) -> Any:
        if not isinstance(columns, dict):
            return columns
        missing = AT_THE_END if columns else tuple(cls.model_fields)
        return {name: [None] * len(columns.get("step") or ()) for name in missing} | columns

    @model_validator(mode="after")
    def _equal_lengths(self) -> "History":
        lengths = {name: len(getattr(self, name)) for name in History.model_fields}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"its columns differ in length: {lengths}")
        return self


class Content(NamedTuple):
    """A run with verified checksums: its folder, the values of its `run.json`, the bytes of each file."""

    folder: Path
    record: dict[str, Any]
    files: dict[str, bytes]

    def file(self, name: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            UserError: the run has no such file.
        """
        if name not in self.files:
            raise damaged(self.folder, f"there is no {self.folder / name}")
        return self.files[name]


def identity(config: dict[str, Any], data: str, trainer_version: int) -> str:
    """Return a run's id: the hash of its settings, the fingerprint of its data and the trainer's version."""
    return digest(config, data, trainer_version)


RUN_ID = re.compile("[0-9a-f]{16}")


def run_folders(store: Path) -> list[Path]:
    """Return the folders of a run store that are named as runs, complete or not, in the order of their ids."""
    return sorted(path for path in store.glob("[!.]*") if RUN_ID.fullmatch(path.name)) if store.is_dir() else []


def conclude(folder: Path, record: dict[str, Any]) -> None:
    """Write a run's `run.json`, last: `record`, the checksums of the other files, and its own digest."""
    files = {path.name: checksum(path, "sha256") for path in folder.iterdir() if path.name != "run.json"}
    write_json(folder / "run.json", seal({**record, "files": files}))


def load(folder: Path) -> Content:
    """Return a stored run after verifying the checksums of all its files and the id that its folder is named after.

    Raises:
        UserError: a file is missing, altered, truncated, or not part of the run; or the folder holds another run.
    """
    path = folder / "run.json"
    record = _record(folder, content := _content(folder, path.name))
    _check_identity(folder, record)
    files = {path.name: content}
    for name, recorded in record["files"].items():
        files[name] = _content(folder, name)
        if (seen := hashlib.sha256(files[name]).hexdigest()) != recorded:
            raise damaged(folder, f"{folder / name} was altered: sha256 {seen}, recorded is {recorded}")
    if extra := {file.name for file in folder.iterdir() if file.name[0] != "."} - files.keys():
        remedy = "Move it away: the run itself is complete."
        raise damaged(folder, f"{folder / min(extra)} is not part of the run", remedy)
    return Content(folder, record, files)


def read(folder: Path) -> dict[str, Any]:
    """Return the values of a run's `run.json` after verifying the checksums of all its files.

    Raises:
        UserError: as `load`.
    """
    return load(folder).record


def outcome(found: Content) -> Outcome:
    """Return the outcome of a run: its `run.json` as a checked model.

    Raises:
        UserError: `run.json` has another form than this version of the program writes.
    """
    try:
        return Outcome.model_validate_json(found.files["run.json"])
    except ValidationError as error:
        raise damaged(found.folder, f"{found.folder}/run.json: {error}") from None


def _check_identity(folder: Path, record: dict[str, Any]) -> None:
    own_id = identity(record["config"], record["data"], record["trainer_version"])
    if own_id == record["run_id"] != folder.name:  # an intact run in the wrong folder
        raise UserError(
            f"{folder} holds the intact run {own_id} under another run's name.\n"
            f"Rename the folder to {folder.with_name(own_id)}; if that exists, delete {folder}."
        )
    if not own_id == record["run_id"] == folder.name:
        problem = (
            f"its run_id is {record['run_id']}; its settings, data (fingerprint {record['data']}) and trainer version "
            f"{record['trainer_version']} are those of run {own_id}, so it was trained with other data or "
            "settings than its id stands for"
        )
        raise damaged(folder, problem)


def _content(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:
        raise damaged(folder, f"there is no {folder / name}") from None
    except OSError as error:  # a folder instead of the file, or a file instead of the run's folder
        raise damaged(folder, f"{folder / name} cannot be read: {error.strerror}") from None


def _record(folder: Path, content: bytes) -> dict[str, Any]:
    path = folder / "run.json"
    try:
        record = parse_json(path, content)
    except Unreadable as error:
        raise damaged(folder, f"{path}: {error.reason}") from None
    if not isinstance(record, dict) or seal(record) != record:
        raise damaged(folder, f"{path} was altered: its content does not have the digest that it names")
    try:
        Identity.model_validate(record)
    except ValidationError as error:
        raise damaged(folder, f"{path}: {error}") from None
    return record


def damaged(folder: Path, problem: object, remedy: str | None = None) -> UserError:
    """Return the error that refuses a stored run: the problem and the remedy."""
    retrain = f"Delete the folder {folder} and start again: only that run is trained again."
    return UserError(f"run {folder.name} in the run store cannot be used: {problem}.\n{remedy or retrain}")
