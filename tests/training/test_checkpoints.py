"""Checkpoints: a run resumes from its own to the same bytes, and a damaged one is not used."""

from pathlib import Path

import pytest
import torch

from bnbench.training import checkpoints
from bnbench.training.pack.pack import Outcome, Pack
from bnbench.training.train import start, train
from tests.support.little import digits, run, trained

pytestmark = pytest.mark.usefixtures("step_by_step")


def _half_trained(steps: int) -> Pack:
    """Return a pack of two runs, stopped after this many steps."""
    runs = [run(model="64-20-10", epochs=2, seed=seed, keep_weights="best") for seed in range(2)]
    pack = start(["a" * 16, "b" * 16], runs, digits())

    def stop(pack: Pack) -> None:
        if pack.step == steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(pack, stop, lambda _outcome: None)
    return pack


@pytest.mark.parametrize("steps", [1, 7, 18, 25])
def test_a_run_resumes_from_its_checkpoint_as_if_never_stopped(tmp_path: Path, steps: int) -> None:
    pack = _half_trained(steps)
    expected = trained(pack.runs)
    checkpoints.save(tmp_path, pack)
    outcomes: list[Outcome] = []
    for name, one in zip(pack.names, pack.runs, strict=True):
        state = checkpoints.load(tmp_path, name)
        assert state is not None
        alone = start([name], [one], digits())
        checkpoints.restore(alone, [state])
        train(alone, lambda _pack: None, outcomes.append)
    for outcome, other in zip(outcomes, expected, strict=True):
        assert repr((outcome.result, outcome.history)) == repr((other.result, other.history))


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_a_damaged_checkpoint_is_not_used(tmp_path: Path, damage: str) -> None:
    pack = _half_trained(3)
    checkpoints.save(tmp_path, pack)
    path = tmp_path / f"{pack.names[0]}.checkpoint"
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-100] ^= 1
    path.write_bytes({"flip": bytes(content), "cut": bytes(content[:-50])}.get(damage, b""))
    if damage == "gone":
        path.unlink()
    assert checkpoints.load(tmp_path, pack.names[0]) is None
    assert checkpoints.load(tmp_path, pack.names[1]) is not None


def test_a_checkpoint_holds_the_state_of_a_pack_without_its_gradients(tmp_path: Path) -> None:
    pack = _half_trained(5)
    checkpoints.save(tmp_path, pack)
    state = checkpoints.load(tmp_path, pack.names[1])
    assert state is not None
    assert state.rows.keys() == pack.arrays.keys() - {"grads"}
    assert all(torch.equal(state.rows[name], pack.arrays[name][1]) for name in state.rows)
