"""A checkpoint is used only if it is intact and of the same run; otherwise it is ignored and the run starts afresh."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bnbench.plan.plan import Plan
from bnbench.training import checkpoints
from bnbench.training.pack.pack import Pack
from tests.faults.trainings import CHECKPOINTS, begun, plain, stopped, stored, train_command, trained


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the contents of the run store after uninterrupted training."""
    with pytest.MonkeyPatch.context() as patch:
        plan = begun(folder := tmp_path_factory.mktemp("reference"))
        patch.chdir(folder)
        return trained(plan)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Return the plan of a project, now the working folder, whose runs were all stopped half-way."""
    plan = begun(tmp_path)
    monkeypatch.chdir(tmp_path)
    stopped(plan)
    return plan


def saved(run_id: str) -> Path:
    """Return the path of a run's checkpoint."""
    (path,) = CHECKPOINTS.glob(f"{run_id}.*")
    return path


def replaced(pattern: str, by: str) -> Callable[[Path, Path], None]:
    """Return a function that replaces the first match of a pattern in a file by another text of the same length."""

    def damage(path: Path, _other: Path) -> None:
        content = path.read_bytes()
        found = re.search(pattern.encode(), content)
        assert found
        start, end = found.span(1)
        assert end - start == len(by)
        assert found[1] != by.encode()
        path.write_bytes(content[:start] + by.encode() + content[end:])

    return damage


def exchanged(path: Path, other: Path) -> None:
    kept = path.read_bytes()
    shutil.copy(other, path)
    other.write_bytes(kept)


# ways to damage a checkpoint; the other checkpoint is of the same pack
DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "a digit of the history": replaced(r'train_loss[\\":]+\d\.\d\d(\d)', "7"),
    "an accuracy of the history": replaced(r'valid_accuracy[\\":]+0\.(\d)', "0"),
    "another step": replaced(r'[{,][\\"]+step[\\":]+(60)', "61"),
    "a number that a probe saw": replaced(r"percentiles[^\]]*?\d\.\d(\d)", "7"),
    "exchanged with another run's": exchanged,
    "another run's": lambda path, other: shutil.copy(other, path),
    "cut": lambda path, _: path.write_bytes(path.read_bytes()[:-1]),
    "emptied": lambda path, _: path.write_bytes(b""),
    "longer": lambda path, _: path.write_bytes(path.read_bytes() + b"\0"),
    "no checkpoint at all": lambda path, _: path.write_text("dear to somebody\n"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_foreign_checkpoint_does_not_reach_a_result(
    plan: Plan, reference: dict[str, bytes], damage: str
) -> None:
    first, second, *_ = plan.packs[0].runs
    DAMAGES[damage](saved(first), saved(second))
    assert checkpoints.load(CHECKPOINTS, first) is None
    assert trained(plan) == reference
    assert list(CHECKPOINTS.iterdir()) == []


def _beyond(pack: Pack) -> None:
    pack.step = 10**9


def _before(pack: Pack) -> None:
    pack.step = -5


def _no_history(pack: Pack) -> None:
    pack.history = [[] for _ in pack.names]


def _another_optimiser(pack: Pack) -> None:
    pack.arrays["velocity"] = pack.arrays.pop("mean")


def _another_type(pack: Pack) -> None:
    pack.arrays["values"] = pack.arrays["values"].double()


def _another_shape(pack: Pack) -> None:
    pack.arrays["moving"] = pack.arrays["values"][:, :-1]


def _one_too_many(pack: Pack) -> None:
    pack.arrays["more"] = torch.zeros(len(pack.names))


@pytest.mark.parametrize(
    "change", [_beyond, _before, _no_history, _another_optimiser, _another_type, _another_shape, _one_too_many]
)
def test_a_whole_checkpoint_that_does_not_fit_its_run_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: dict[str, bytes], change: Callable[[Pack], None]
) -> None:
    plan = begun(tmp_path)
    monkeypatch.chdir(tmp_path)
    first, other = stopped(plan)
    change(first)
    checkpoints.save(CHECKPOINTS, first.part([0]))  # the checkpoint of the second run stays valid
    assert len(list(CHECKPOINTS.iterdir())) == 4
    assert other.step == 60
    assert trained(plan) == reference


def test_a_checkpoint_of_another_network_is_not_used(plan: Plan, reference: dict[str, bytes]) -> None:
    with_norm, without = (saved(next(iter(pack.runs))) for pack in plan.packs)
    exchanged(with_norm, without)
    assert trained(plan) == reference


def test_no_changed_byte_before_the_arrays_goes_unnoticed(plan: Plan) -> None:
    run_id = next(iter(plan.packs[0].runs))
    path = saved(run_id)
    content, whole = path.read_bytes(), plain(checkpoints.load(CHECKPOINTS, run_id))
    for place in range(content.index(b"data_offsets") + 2000):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        assert plain(checkpoints.load(CHECKPOINTS, run_id)) in (None, whole), f"byte {place}"
    path.write_bytes(content)
    assert plain(checkpoints.load(CHECKPOINTS, run_id)) == whole


def test_whole_checkpoints_are_gone_on_from(plan: Plan, reference: dict[str, bytes]) -> None:
    states = [checkpoints.load(CHECKPOINTS, run_id) for pack in plan.packs for run_id in pack.runs]
    assert all(states)
    assert trained(plan) == reference


@pytest.mark.slow
def test_a_folder_in_the_place_of_a_checkpoint_is_told_and_loses_nothing(
    plan: Plan, reference: dict[str, bytes]
) -> None:
    path = saved(next(iter(plan.packs[0].runs)))
    path.unlink()
    path.mkdir()
    (path / "dear.txt").write_text("dear to somebody")
    done = train_command()
    assert done.returncode == 4, done.stderr
    assert f"cannot write {path}: a folder lies where a file is needed; move it away" in done.stderr
    assert "Traceback" not in done.stderr
    assert (path / "dear.txt").read_text() == "dear to somebody"
    path.rename("elsewhere")
    assert train_command().returncode == 0
    assert stored() == reference


def test_a_folder_in_the_place_of_an_unfinished_checkpoint_stays_and_stops_nothing(
    plan: Plan, reference: dict[str, bytes]
) -> None:
    left = CHECKPOINTS / f".{next(iter(plan.packs[0].runs))}.checkpoint.abc"
    left.mkdir()
    (left / "dear.txt").write_text("dear to somebody")
    assert trained(plan) == reference
    assert [path.name for path in CHECKPOINTS.iterdir()] == [left.name]
    assert (left / "dear.txt").read_text() == "dear to somebody"


def test_a_file_in_the_place_of_a_run_stops_nothing(plan: Plan, reference: dict[str, bytes]) -> None:
    place = plan.store / next(iter(plan.packs[0].runs))
    place.parent.mkdir(parents=True)
    place.write_text("half of a copy")
    assert trained(plan) == reference


@pytest.mark.slow
def test_checkpoints_with_another_history_are_passed_over_by_the_command(
    plan: Plan, reference: dict[str, bytes]
) -> None:
    for pack in plan.packs:
        first, second = pack.runs
        DAMAGES["an accuracy of the history"](saved(first), saved(second))
        exchanged(saved(first), saved(second))
    done = train_command()
    assert done.returncode == 0, done.stderr
    assert stored() == reference
