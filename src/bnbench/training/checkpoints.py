"""Checkpoints: a file per run in training, from which it resumes, alone or in another pack, to the same bytes."""

import contextlib
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load as deserialised
from safetensors.torch import save as serialised
from torch import Tensor

from bnbench.core.atomic import explained, write_bytes
from bnbench.training.pack.pack import Pack, Probed


class Header(BaseModel):
    """The part of a checkpoint that is no array."""

    model_config = ConfigDict(extra="forbid", strict=True)

    run_id: str
    step: int
    history: list[dict[str, Any]]
    probed: list[list[Any]]


class State(NamedTuple):
    """State of a run between two steps: its header, and its row of each of the pack's arrays."""

    header: Header
    rows: dict[str, Tensor]


def save(folder: Path, pack: Pack) -> None:
    """Write a checkpoint of each run of a pack: its id, step, history, probe rows, and its row of every array.

    Gradients are not saved: each step computes them again. The file starts with the SHA-256 digest of the rest.
    """
    for i, name in enumerate(pack.names):
        rows = {key: array[i].contiguous().cpu() for key, array in pack.arrays.items() if key != "grads"}
        header = {"run_id": name, "step": pack.step, "history": pack.history[i], "probed": pack.probed[i]}
        content = orjson.dumps(header) + b"\n" + serialised(rows)
        write_bytes(_path(folder, name), _digest(content) + b"\n" + content)


def load(folder: Path, run_id: str) -> State | None:
    """Read a run's checkpoint; None if it is missing, damaged, of another run, or of another version of the format.

    The digest is verified before anything else of the file is used.

    Raises:
        SystemFault: a folder has the checkpoint's path, so that none could be saved either.
    """
    path = _path(folder, run_id)
    with explained(path):
        try:
            digest, _, content = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
    if digest != _digest(content):
        return None
    header, _, arrays = content.partition(b"\n")
    with contextlib.suppress(SafetensorError, ValueError):  # written by another version of this program
        state = State(Header.model_validate(orjson.loads(header)), deserialised(arrays))
        return state if state.header.run_id == run_id else None
    return None


def fits(pack: Pack, state: State) -> bool:
    """Return whether a state can be of a run of this pack, by its step, steps of its history, and array shapes."""
    step = state.header.step
    evaluated = [*range(pack.interval, step, pack.interval)]
    evaluated += [step] if step % pack.interval == 0 or step == pack.steps else []
    form = {name: (array.dtype, array.shape[1:]) for name, array in pack.arrays.items() if name != "grads"}
    return (
        0 < step <= pack.steps
        and [row.get("step") for row in state.header.history] == evaluated
        and {name: (row.dtype, row.shape) for name, row in state.rows.items()} == form
    )


def restore(pack: Pack, states: list[State]) -> None:
    """Copy states, all of one step and each one that fits, into a pack before its first step."""
    pack.step = states[0].header.step
    pack.history = [state.header.history for state in states]
    pack.probed = [list[Probed](state.header.probed) for state in states]
    for name in states[0].rows:
        pack.arrays[name].copy_(torch.stack([state.rows[name] for state in states]))


def forget(folder: Path, run_id: str) -> None:
    """Delete a finished run's checkpoint, and temporary files of it that a killed process left behind."""
    for path in (*folder.glob(f"{run_id}.*"), *folder.glob(f".{run_id}.*")):
        if not path.is_dir():
            path.unlink(missing_ok=True)


def _path(folder: Path, run_id: str) -> Path:
    return folder / f"{run_id}.checkpoint"


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
