"""Writing and reading of finished runs: a folder per run id in the run store, written atomically."""

import shutil
from pathlib import Path

import orjson
import torch
from safetensors import SafetensorError
from safetensors.torch import load as deserialised
from safetensors.torch import save as serialised

from bnbench.core.atomic import atomic_folder
from bnbench.core.errors import UserError
from bnbench.params.run_schema import Run
from bnbench.plan import cost
from bnbench.plan.identity import TRAINER_VERSION
from bnbench.store import run_record
from bnbench.training.arithmetic import matmul
from bnbench.training.engine import choose
from bnbench.training.nets.network import Network
from bnbench.training.pack.pack import Outcome

WEIGHTS = "weights.safetensors"


def finished(store: Path, run_id: str) -> bool:
    """Return whether the store holds this run, complete: `run.json` is written last."""
    return (store / run_id / "run.json").is_file()


def write(store: Path, outcome: Outcome, data: str, device: str) -> None:
    """Write a run's folder: `history.json`, and `run.json` last. A complete folder of another process stays.

    A run with probes also has `probes.parquet`; one with `save_weights` that did not diverge, `weights.safetensors`.
    The files hold no time, host or path, so that two trainings of a run on one machine give identical bytes.
    `run.json` holds the checksums of the other files and of itself, so that `run_record.load` detects any change.

    Args:
        store: the run store.
        outcome: the finished run.
        data: fingerprint of the data that it was trained on.
        device: kind of device that trained it: `cpu` or `cuda`.

    Raises:
        SystemFault: the folder cannot be written.
    """
    columns = list(dict.fromkeys(name for row in outcome.history for name in row))
    history = {name: [row.get(name) for row in outcome.history] for name in columns}
    environment = {"torch": torch.__version__, "cpu": cost.cpu(), "device": device, "threads": torch.get_num_threads()}
    environment |= {"products": matmul.products(outcome.run, device)}
    identity = {"run_id": outcome.name, "config": outcome.run.model_dump(), "data": data}
    record = identity | {"trainer_version": TRAINER_VERSION} | outcome.result | {"environment": environment}
    with atomic_folder(store / outcome.name) as folder:
        if not finished(store, outcome.name):  # an incomplete copy without `run.json` would block the rename
            _remove(store / outcome.name)
        (folder / "history.json").write_bytes(orjson.dumps(history))
        if outcome.run.probes:
            _write_probes(outcome, folder / "probes.parquet")
        if outcome.weights:
            (folder / WEIGHTS).write_bytes(serialised(outcome.weights))
        run_record.conclude(folder, record)


def _write_probes(outcome: Outcome, path: Path) -> None:
    import pyarrow as pa  # takes 150 MiB and a second; runs without probes do not need it
    from pyarrow import parquet

    from bnbench.store.probe_rows import PROBED

    columns = list(zip(*outcome.probed, strict=True)) or [()] * len(PROBED)
    parquet.write_table(pa.table(list(map(list, columns)), schema=pa.schema(list(PROBED.items()))), path)


def read_network(store: Path, run_id: str, shape: tuple[int, int, int]) -> tuple[Run, Network]:
    """Read a finished run's settings, and its network with the stored weights and running statistics.

    Args:
        store: the run store.
        run_id: a run that was trained with `save_weights`.
        shape: channels, height and width of an image.

    Raises:
        UserError: the run is missing, has no weights, was altered, or its weights fit another network.
    """
    path = store / run_id / WEIGHTS
    found = run_record.load(path.parent) if finished(store, run_id) else None
    if found is None or WEIGHTS not in found.files:
        missing = path if found else path.with_name("run.json")
        raise UserError(f"{missing}: no such file; train the run with `save_weights: true`")
    try:
        run = Run.model_validate(found.record["config"])
        network = choose.network(run, shape)
        network.load(deserialised(found.files[WEIGHTS]))
    except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
        raise run_record.damaged(path.parent, f"{path}: not the weights of {run_id} ({error})") from None
    return run, network


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
