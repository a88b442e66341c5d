"""A stored run: one reader of its folder. `run.json` bears the checksums of the other files and of itself.

Whoever needs a file of a run takes its content from `load`, which has held all of them against their checksums.
"""

import hashlib
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from bnbench.core.errors import UserError
from bnbench.core.files import Unreadable, checksum, digest, parse_json, write_json
from bnbench.data.manifest import seal

AT_THE_END = ("test_loss", "test_accuracy", "official_loss", "official_accuracy")  # unless evaluate_test


class Stored(BaseModel):
    """What a file of the run store holds; more keys may be there, numbers are finite or null."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, strict=True)


class Identity(Stored):
    """What every `run.json` says, of whatever version of the trainer."""

    run_id: str
    config: dict[str, Any]
    data: str
    trainer_version: int
    files: dict[str, str]


class Environment(Stored):
    """Where a run was made."""

    torch: str
    cpu: str
    device: str
    threads: int
    products: str


class Outcome(Identity):
    """A run's `run.json`."""

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
    environment: Environment

    @field_validator("confusion")
    @classmethod
    def _square(cls, confusion: dict[str, list[list[int]]] | None) -> dict[str, list[list[int]]] | None:
        for part, matrix in (confusion or {}).items():
            if any(len(row) != len(matrix) for row in matrix):
                raise ValueError(f"the matrix of the part {part} is not square")
        return confusion


class History(Stored):
    """A run's `history.json`: columns of equal length.

    The columns of test sets may be missing, where they are measured at the end alone; all columns are, where a run
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
    """A run as it was written: its folder, its `run.json`, and what each of its files holds."""

    folder: Path
    record: dict[str, Any]
    files: dict[str, bytes]

    def file(self, name: str) -> bytes:
        """What a file holds.

        Raises:
            UserError: the run has no such file.
        """
        if name not in self.files:
            raise damaged(self.folder, f"there is no {self.folder / name}")
        return self.files[name]


def identity(config: dict[str, Any], data: str, trainer_version: int) -> str:
    """Return a run's id: the hash of all that decides its result, settings, data's fingerprint, trainer's version."""
    return digest(config, data, trainer_version)


RUN_ID = re.compile("[0-9a-f]{16}")


def run_folders(store: Path) -> list[Path]:
    """The folders of a run store that are runs, in the order of their ids, whole or not; nothing else there is one."""
    return sorted(path for path in store.glob("[!.]*") if RUN_ID.fullmatch(path.name)) if store.is_dir() else []


def conclude(folder: Path, record: dict[str, Any]) -> None:
    """Write a run's `run.json`: `record`, the checksums of the folder's other files, and its own digest."""
    files = {path.name: checksum(path, "sha256") for path in folder.iterdir() if path.name != "run.json"}
    write_json(folder / "run.json", seal({**record, "files": files}))


def load(folder: Path) -> Content:
    """A run, after `run.json` and all its files have shown to be as they were written, and of the folder's run.

    Raises:
        UserError: a file is missing, altered, truncated, or no part of the run; it is another run.
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
        remedy = "Move it away: the run itself is whole."
        raise damaged(folder, f"{folder / min(extra)} is no part of the run", remedy)
    return Content(folder, record, files)


def read(folder: Path) -> dict[str, Any]:
    """A run's `run.json`, after all files of the run have shown to be as they were written.

    Raises:
        UserError: as `load`.
    """
    return load(folder).record


def outcome(found: Content) -> Outcome:
    """What became of a run.

    Raises:
        UserError: `run.json` does not say it in this program's form.
    """
    try:
        return Outcome.model_validate_json(found.files["run.json"])
    except ValidationError as error:
        raise damaged(found.folder, f"{found.folder}/run.json: {error}") from None


def _check_identity(folder: Path, record: dict[str, Any]) -> None:
    made = identity(record["config"], record["data"], record["trainer_version"])
    if made == record["run_id"] != folder.name:  # a good run in the wrong place
        raise UserError(
            f"{folder} holds run {made}, whole, under another run's name.\n"
            f"Rename the folder to {folder.with_name(made)}; if that exists, delete {folder}."
        )
    if not made == record["run_id"] == folder.name:
        problem = (
            f"its run_id is {record['run_id']}; its settings, data (fingerprint {record['data']}) and trainer version "
            f"{record['trainer_version']} are those of run {made}, so it was trained on other data or by other "
            "settings than its name says"
        )
        raise damaged(folder, problem)


def _content(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:
        raise damaged(folder, f"there is no {folder / name}") from None
    except OSError as error:  # a folder in its place, a file in the place of the run's folder
        raise damaged(folder, f"{folder / name} cannot be read: {error.strerror}") from None


def _record(folder: Path, content: bytes) -> dict[str, Any]:
    path = folder / "run.json"
    try:
        record = parse_json(path, content)
    except Unreadable as error:
        raise damaged(folder, f"{path}: {error.reason}") from None
    if not isinstance(record, dict) or seal(record) != record:
        raise damaged(folder, f"{path} was altered: it does not have the digest that it names")
    try:
        Identity.model_validate(record)
    except ValidationError as error:
        raise damaged(folder, f"{path}: {error}") from None
    return record


def damaged(folder: Path, problem: object, remedy: str | None = None) -> UserError:
    """The refusal of a run: what is wrong, and the way out."""
    anew = f"Delete the folder {folder} and start again: only that run is trained anew."
    return UserError(f"run {folder.name} in the run store cannot be used: {problem}.\n{remedy or anew}")
