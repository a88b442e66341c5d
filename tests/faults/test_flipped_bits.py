"""One flipped bit anywhere in a file is reported with the file's name, or has no effect.

`KINDS` is a table: a kind of file -> its path, its reader in the program, and whether it may count as missing.
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from bnbench.core.errors import UserError
from bnbench.data.manifest import read_manifest
from bnbench.data.prepared import Augmented, Prepared
from bnbench.plan.plan import Plan
from bnbench.store import run_record
from bnbench.tables.collect import read_run
from bnbench.training import checkpoints, run_writer
from tests.faults.trainings import CHECKPOINTS, finished, plain

HEAD = 400  # bytes at the start of a file, where headers are: every second flip is in this range


class Kind(NamedTuple):
    """A kind of file and its reader.

    Attributes:
        place: pattern in the project's folder; the first match is damaged.
        read: function of the plan and that file that returns everything the program reads from it.
        anew: True if the file is rebuilt when damaged, so that `read` may also return None.
    """

    place: str
    read: Callable[[Plan, Path], Any]
    anew: bool = False


def prepared(plan: Plan, _path: Path) -> Any:
    """Read the data of the runs, original and augmented."""
    (moved, _), *_ = plan.augmented.values()
    return Prepared.read(Path(f"data/prepared/digits-{plan.keys['digits']}"), Path(moved))


def logits(plan: Plan, path: Path) -> Any:
    """Return the logits of a stored run's network for fixed images."""
    _, network = run_writer.read_network(plan.store, path.parent.name, (1, 8, 8))
    return network.forward(torch.linspace(0, 1, 640).view(1, 10, 8, 8, 1))


def collected(plan: Plan, path: Path) -> Any:
    """Read a run as the tables stage does."""
    return read_run(plan.record(), plan.store, path.parent.name)


RUN, DATA, MOVED = "results/runs/*", "data/prepared/*", "data/augmented/*/*"
KINDS: dict[str, Kind] = {
    "checkpoint": Kind(".bnbench/checkpoints/*", lambda _, path: checkpoints.load(CHECKPOINTS, path.stem), anew=True),
    "run.json": Kind(f"{RUN}/run.json", collected),
    "run.json, explained": Kind(f"{RUN}/run.json", lambda _, path: run_record.read(path.parent)),
    "run.json, shown": Kind(f"{RUN}/run.json", logits),
    "history": Kind(f"{RUN}/history.json", collected),
    "probes": Kind(f"{RUN}/probes.parquet", collected),
    "weights": Kind(f"{RUN}/weights.safetensors", logits),
    "training images": Kind(f"{DATA}/train_images.npy", prepared),
    "test labels": Kind(f"{DATA}/test_labels.npy", prepared),
    "manifest": Kind(f"{DATA}/manifest.json", prepared),
    "manifest, explained": Kind(f"{DATA}/manifest.json", lambda _, path: read_manifest(path.parent)),
    "moved images": Kind(f"{MOVED}/copies.npy", prepared),
    "moved images, shown": Kind(f"{MOVED}/sheet.npy", lambda _, path: Augmented.read(path.parent)),
    "manifest of moved images": Kind(f"{MOVED}/manifest.json", prepared),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flipped") / "project"
    finished(folder)
    return folder


def check(name: str, count: int) -> None:
    """Flip `count` bits of a file of this kind, one at a time, and read it as the program does."""
    plan, kind, dice = Plan(Path("params.yaml")), KINDS[name], random.Random(name)
    path = sorted(Path().glob(kind.place))[0]
    content, whole = path.read_bytes(), plain(kind.read(plan, path))
    assert whole is not None
    for number in range(count):
        flipped, end = bytearray(content), HEAD if number % 2 else len(content)
        place, bit = dice.randrange(min(end, len(content))), dice.randrange(8)
        flipped[place] ^= 1 << bit
        path.write_bytes(flipped)
        try:
            found = plain(kind.read(plan, path))
        except UserError as error:
            harmless = path.name in str(error)
        else:
            harmless = found == whole or (kind.anew and found is None)
        path.write_bytes(content)
        assert harmless, f"{path}, byte {place}, bit {bit}"


@pytest.mark.parametrize("name", KINDS)
def test_a_flipped_bit_is_told_by_name_or_without_effect(
    made: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    check(name, 20)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_many_flipped_bits_are_told_by_name_or_without_effect(
    made: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    check(name, 300)
