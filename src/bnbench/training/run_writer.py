"""The run store: one folder per run id, written once, whole or not at all. And its neighbours, the checkpoints."""

import contextlib
import hashlib
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load as deserialised
from safetensors.torch import save as serialised
from torch import Tensor

from bnbench.core.atomic import atomic_folder, explained, write_bytes
from bnbench.core.errors import UserError
from bnbench.params.run_schema import Run
from bnbench.plan import cost
from bnbench.plan.identity import TRAINER_VERSION
from bnbench.store import run_record
from bnbench.training.arithmetic import matmul
from bnbench.training.nets.network import Network
from bnbench.training.pack.pack import Outcome, Pack, Probed

WEIGHTS = "weights.safetensors"


def finished(store: Path, run_id: str) -> bool:
    """Whether the store has this run."""
    return (store / run_id / "run.json").is_file()


def write(store: Path, outcome: Outcome, data: str, device: str) -> None:
    """Write a run's folder: `history.json`, and `run.json` last. A folder that another process wrote first stays.

    A run with probes has `probes.parquet` too, one with `save_weights` that did not diverge `weights.safetensors`.
    Nothing that differs between two trainings of the same run on one machine is in it: no time, no host, no path.
    `run.json` bears the checksums of the other files and of itself, so that `runs.load` notices any change.
    """
    columns = list(dict.fromkeys(name for row in outcome.history for name in row))
    history = {name: [row.get(name) for row in outcome.history] for name in columns}
    environment = {"torch": torch.__version__, "cpu": cost.cpu(), "device": device, "threads": torch.get_num_threads()}
    environment |= {"products": matmul.products(outcome.run, device)}
    identity = {"run_id": outcome.name, "config": outcome.run.model_dump(), "data": data}
    record = identity | {"trainer_version": TRAINER_VERSION} | outcome.result | {"environment": environment}
    with atomic_folder(store / outcome.name) as folder:
        if not finished(store, outcome.name):  # a folder without `run.json`: half of a copy, which would be in the way
            _discard(store / outcome.name)
        (folder / "history.json").write_bytes(orjson.dumps(history))
        if outcome.run.probes:
            _write_probed(outcome, folder / "probes.parquet")
        if outcome.weights:
            (folder / WEIGHTS).write_bytes(serialised(outcome.weights))
        run_record.conclude(folder, record)


def _write_probed(outcome: Outcome, path: Path) -> None:
    import pyarrow as pa  # 150 MiB and a second, which runs without probes need not
    from pyarrow import parquet

    from bnbench.store.probe_rows import PROBED

    seen = list(zip(*outcome.probed, strict=True)) or [()] * len(PROBED)
    parquet.write_table(pa.table(list(map(list, seen)), schema=pa.schema(list(PROBED.items()))), path)


def read_network(store: Path, run_id: str, shape: tuple[int, int, int]) -> tuple[Run, Network]:
    """A finished run's settings, and its network with the weights and moving statistics that it kept.

    Args:
        store: the run store.
        run_id: a run that was trained with `save_weights`.
        shape: channels, height and width of an image.

    Raises:
        UserError: the run is not there, has no weights, was altered, or is of another network.
    """
    path = store / run_id / WEIGHTS
    found = run_record.load(path.parent) if finished(store, run_id) else None
    if found is None or WEIGHTS not in found.files:
        missing = path if found else path.with_name("run.json")
        raise UserError(f"{missing}: no such file; train the run with `save_weights: true`")
    try:
        run = Run.model_validate(found.record["config"])
        network = Network(run, shape)
        network.load(deserialised(found.files[WEIGHTS]))
    except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
        raise run_record.damaged(path.parent, f"{path}: not the weights of {run_id} ({error})") from None
    return run, network


class About(BaseModel):
    """What a checkpoint says of a run besides its arrays."""

    model_config = ConfigDict(extra="forbid", strict=True)

    run_id: str
    step: int
    history: list[dict[str, Any]]
    probed: list[list[Any]]


class State(NamedTuple):
    """A run as its checkpoint has it: between two steps, with its row of every array."""

    about: About
    rows: dict[str, Tensor]


def save(checkpoints: Path, pack: Pack) -> None:
    """Save each run of a pack, a file each: run id, step, history, what probes saw, its row of every array.

    The file begins with the digest of all the rest.
    """
    for i, name in enumerate(pack.names):
        rows = {key: array[i].contiguous().cpu() for key, array in pack.arrays.items() if key != "grads"}
        about = {"run_id": name, "step": pack.step, "history": pack.history[i], "probed": pack.probed[i]}
        content = orjson.dumps(about) + b"\n" + serialised(rows)
        write_bytes(_checkpoint(checkpoints, name), _digest(content) + b"\n" + content)


def load(checkpoints: Path, run_id: str) -> State | None:
    """A run's saved state, or None if there is none that is this run's and whole.

    Nothing of the file is used before the digest has shown all of it to be as it was saved.

    Raises:
        SystemFault: a folder lies in the checkpoint's place, where none could be saved either.
    """
    path = _checkpoint(checkpoints, run_id)
    with explained(path):
        try:
            seen, _, content = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
    if seen != _digest(content):
        return None
    told, _, arrays = content.partition(b"\n")
    with contextlib.suppress(SafetensorError, ValueError):  # of another version of this program
        state = State(About.model_validate(orjson.loads(told)), deserialised(arrays))
        return state if state.about.run_id == run_id else None
    return None


def fits(pack: Pack, state: State) -> bool:
    """Whether a saved state can be of a run of this pack: its step, its rows of history, the form of every array."""
    step = state.about.step
    evaluated = [*range(pack.interval, step, pack.interval)]
    evaluated += [step] if step % pack.interval == 0 or step == pack.steps else []
    form = {name: (array.dtype, array.shape[1:]) for name, array in pack.arrays.items() if name != "grads"}
    return (
        0 < step <= pack.steps
        and [row.get("step") for row in state.about.history] == evaluated
        and {name: (row.dtype, row.shape) for name, row in state.rows.items()} == form
    )


def restore(pack: Pack, states: list[State]) -> None:
    """Put saved states, all of one step and such that fit, into a pack that was just started."""
    pack.step = states[0].about.step
    pack.history = [state.about.history for state in states]
    pack.probed = [list[Probed](state.about.probed) for state in states]
    for name in states[0].rows:
        pack.arrays[name].copy_(torch.stack([state.rows[name] for state in states]))


def forget(checkpoints: Path, run_id: str) -> None:
    """Remove a finished run's checkpoint, and what a killed process left of one. What is no file stays."""
    for path in (*checkpoints.glob(f"{run_id}.*"), *checkpoints.glob(f".{run_id}.*")):
        if not path.is_dir():
            path.unlink(missing_ok=True)


def _discard(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _checkpoint(checkpoints: Path, run_id: str) -> Path:
    return checkpoints / f"{run_id}.checkpoint"


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
