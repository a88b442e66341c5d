"""The run store: one folder per run id, written once, whole or not at all. And its neighbours, the checkpoints."""

import contextlib
import hashlib
import shutil
from pathlib import Path
from typing import Any

import orjson
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from torch import Tensor

from bnbench import cost, precision, runs
from bnbench.errors import UserError
from bnbench.files import atomic_folder, read_json, write_bytes
from bnbench.network import Network
from bnbench.pack import Outcome, Pack
from bnbench.plan import TRAINER_VERSION
from bnbench.schema import Run


def finished(store: Path, run_id: str) -> bool:
    """Whether the store has this run."""
    return (store / run_id / "run.json").is_file()


def write(store: Path, outcome: Outcome, data: str, device: str) -> None:
    """Write a run's folder: `history.json`, and `run.json` last. A folder that another process wrote first stays.

    A run with probes has `probes.parquet` too, one with `save_weights` that did not diverge `weights.safetensors`.
    Nothing that differs between two trainings of the same run on one machine is in it: no time, no host, no path.
    `run.json` bears the checksums of the other files and of itself, so that `runs.read` notices any change.
    """
    columns = list(dict.fromkeys(name for row in outcome.history for name in row))
    history = {name: [row.get(name) for row in outcome.history] for name in columns}
    environment = {"torch": torch.__version__, "cpu": cost.cpu(), "device": device, "threads": torch.get_num_threads()}
    environment |= {"products": precision.products(outcome.run, device)}
    identity = {"run_id": outcome.name, "config": outcome.run.model_dump(), "data": data}
    record = identity | {"trainer_version": TRAINER_VERSION} | outcome.result | {"environment": environment}
    with atomic_folder(store / outcome.name) as folder:
        if not finished(store, outcome.name):  # a folder without `run.json`: half of a copy, which would be in the way
            shutil.rmtree(store / outcome.name, ignore_errors=True)
        (folder / "history.json").write_bytes(orjson.dumps(history))
        if outcome.run.probes:
            _write_probed(outcome, folder / "probes.parquet")
        if outcome.weights:
            (folder / "weights.safetensors").write_bytes(serialised(outcome.weights))
        runs.conclude(folder, record)


def _write_probed(outcome: Outcome, path: Path) -> None:
    import pyarrow as pa  # 150 MiB and a second, which runs without probes need not
    from pyarrow import parquet

    from bnbench.tables import PROBED

    seen = list(zip(*outcome.probed, strict=True)) or [()] * len(PROBED)
    parquet.write_table(pa.table(list(map(list, seen)), schema=pa.schema(list(PROBED.items()))), path)


def read_network(store: Path, run_id: str, shape: tuple[int, int, int]) -> tuple[Run, Network]:
    """A finished run's settings, and its network with the weights and moving statistics that it kept.

    Args:
        store: the run store.
        run_id: a run that was trained with `save_weights`.
        shape: channels, height and width of an image.

    Raises:
        UserError: the run is not there, has no weights, or they are damaged or of another network.
    """
    folder = store / run_id
    path = folder / "weights.safetensors"
    try:
        run = Run.model_validate(read_json(folder / "run.json")["config"])
        network = Network(run, shape)
        with safe_open(path, "pt") as file:
            network.load({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118 - not a mapping
    except FileNotFoundError as error:
        raise UserError(f"{error.filename or path}: no such file; train the run with `save_weights: true`") from None
    except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: not the weights of {run_id} ({error}); delete {folder} and train again") from None
    return run, network


def save(checkpoints: Path, pack: Pack) -> None:
    """Save each run of a pack, a file each: its row of every array, its step, its history."""
    for i, name in enumerate(pack.names):
        rows = {key: array[i].contiguous().cpu() for key, array in pack.arrays.items() if key != "grads"}
        about = {"step": pack.step, "history": pack.history[i], "probed": pack.probed[i], "sha256": _digest(rows)}
        # by way of memory: safetensors' own error of a full disk does not say so
        content = serialised(rows, metadata={"about": orjson.dumps(about).decode()})
        write_bytes(checkpoints / f"{name}.safetensors", content)


def load(checkpoints: Path, run_id: str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """A run's saved state, or None if there is none that is whole."""
    path = checkpoints / f"{run_id}.safetensors"
    with contextlib.suppress(FileNotFoundError, SafetensorError, KeyError, ValueError):
        with safe_open(path, "pt") as file:
            about = orjson.loads(file.metadata()["about"])
            rows = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        if about["sha256"] == _digest(rows):
            return about, rows
    return None


def restore(pack: Pack, states: list[tuple[dict[str, Any], dict[str, Tensor]]]) -> None:
    """Put saved rows, all of one step, into a pack that was just started."""
    pack.step = states[0][0]["step"]
    pack.history = [about["history"] for about, _ in states]
    pack.probed = [about["probed"] for about, _ in states]
    for name in states[0][1]:
        pack.arrays[name].copy_(torch.stack([rows[name] for _, rows in states]))


def forget(checkpoints: Path, run_id: str) -> None:
    """Remove a finished run's checkpoint, and what a killed process left of one."""
    for path in (checkpoints / f"{run_id}.safetensors", *checkpoints.glob(f".{run_id}.*")):
        path.unlink(missing_ok=True)


def _digest(rows: dict[str, Tensor]) -> str:
    state = hashlib.sha256()
    for name in sorted(rows):
        state.update(name.encode())
        state.update(rows[name].numpy().tobytes())
    return state.hexdigest()
