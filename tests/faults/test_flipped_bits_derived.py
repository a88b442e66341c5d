"""A flipped bit in a file derived from runs never changes a result; a plain start or the reported remedy repairs it.

A reader of a kind of file returns everything that the program reads from it, or None where it refuses the file.
"""

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bnbench.manage.doctor import examine
from bnbench.plan import cost
from bnbench.store import records
from tests.faults.derived import IDENTITIES, WRITTEN, asked, flip, plan_file, restored, stage, start

FEW, MANY = 2, 14  # flipped bits per kind of file
TOLD = ("runs", "git", "source", "trainer_version", "data", "libraries", "variables", "environment")


@dataclass(frozen=True)
class Kind:
    """A kind of derived file: a pattern of its paths, its reader, and the way it is repaired."""

    pattern: str
    reader: Callable[[Path, Path], Any]
    healed: Callable[[Path], bool]


def by_a_start(name: str) -> Callable[[Path], bool]:
    """Return whether a start requests the stage again."""
    return lambda _path: name in asked()


def by_its_removal(path: Path) -> bool:
    """Delete the file if the doctor advises it (not for a flip in the digest's key) and return whether all is well."""
    if found := [finding for finding in examine() if str(path) in finding.what]:
        assert found[0].remedy.startswith("delete it")
        path.unlink()
    return not [finding for finding in examine() if not finding.note]


def written_anew(path: Path) -> bool:
    before = path.read_bytes()
    start().record(None)
    return path.read_bytes() != before and not [finding for finding in examine() if not finding.note]


def drawn(_path: Path, plan: Path) -> list[bytes] | None:
    """Draw the figures and return their contents, or None if the stage refuses."""
    code, _said = stage("figures", plan)
    return [Path(name).read_bytes() for name in WRITTEN["figures"]] if code == 0 else None


def reported(_path: Path, plan: Path) -> list[bytes] | None:
    code, _said = stage("report", plan)
    return [Path(name).read_bytes() for name in WRITTEN["report"]] if code == 0 else None


def looked_at(path: Path, _plan: Path) -> bytes | None:
    """Return what a person or another program sees, or None if the doctor reports the file."""
    named = any(str(path) in finding.what for finding in examine())
    return None if named else path.read_bytes()


def alone(path: Path) -> Path:
    """Copy this file alone into a folder of the same name and return the folder."""
    folder = Path("alone") / path.parent.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(path, folder)
    return folder


def correction(path: Path, _plan: Path) -> float | None:
    """Return the ratio of actual to estimated wall time by this record alone."""
    return cost.correction(alone(path))


def origins(path: Path, _plan: Path) -> list[dict[str, Any]] | None:
    """Return the provenance of runs by this record alone, without its own digest."""
    folder = alone(path)
    found = [one for run in sorted(Path("results/runs").glob("[!.]*")) for one in records.of_run(folder, run.name)]
    return [{key: one.get(key) for key in TOLD} for one in found] or None


KINDS: dict[str, Kind] = {
    "runs.parquet": Kind("results/tables/runs.parquet", drawn, by_a_start("tables")),
    "history.parquet": Kind("results/tables/history.parquet", drawn, by_a_start("tables")),
    "summary.parquet": Kind("results/tables/summary.parquet", reported, by_a_start("tables")),
    "CSV": Kind("results/tables/[!et]*.csv", looked_at, by_a_start("tables")),
    "environment.parquet": Kind("results/tables/environment.parquet", reported, by_a_start("environment")),
    "CSV of the machine": Kind("results/tables/[et]*.csv", looked_at, by_a_start("environment")),
    "numbers": Kind("results/metrics.json", looked_at, by_a_start("tables")),
    "the tables' identity": Kind(IDENTITIES["tables"], drawn, by_a_start("tables")),
    "figure": Kind("reports/figures/*/*.svg", reported, by_a_start("figures")),
    "caption": Kind("reports/figures/*/*.md", reported, by_a_start("figures")),
    "picture": Kind("reports/figures/*/*.png", looked_at, by_a_start("figures")),
    "the figures' identity": Kind(IDENTITIES["figures"], reported, by_a_start("figures")),
    "report": Kind("reports/report.*", looked_at, by_a_start("report")),
    "the report's identity": Kind(IDENTITIES["report"], looked_at, by_a_start("report")),
    "plan": Kind(".bnbench/plans/*.json", drawn, written_anew),
    "wall times": Kind("results/timings/*.json", correction, by_its_removal),
    "provenance": Kind("results/provenance/*.json", origins, by_its_removal),
}


def places(kind: Kind, count: int) -> Iterator[tuple[Path, int]]:
    dice = random.Random(kind.pattern)
    paths = sorted(Path().glob(kind.pattern))
    for _ in range(count):
        path = dice.choice(paths)
        yield path, dice.randrange(8 * path.stat().st_size)


def attack(name: str, count: int) -> None:
    kind, plan = KINDS[name], plan_file()
    places_of = Path("results"), Path("reports"), Path(".bnbench")
    everything = [path for place in places_of for path in place.rglob("*.*") if path.is_file()]
    whole: dict[Path, Any] = {}
    for path, bit in places(kind, count):
        if path not in whole:
            with restored(*everything):
                whole[path] = kind.reader(path, plan)
                assert whole[path] is not None
        with restored(*everything):
            flip(path, bit)
            taken = kind.reader(path, plan)
            assert taken is None or taken == whole[path], f"{path}, bit {bit}"
        with restored(*everything):
            flip(path, bit)
            assert kind.healed(path), f"{path}, bit {bit}"


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("name", KINDS)
def test_no_flipped_bit_is_taken_for_a_value(name: str) -> None:
    attack(name, FEW)


@pytest.mark.slow
@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("name", KINDS)
def test_none_of_many_flipped_bits_is_taken_for_a_value(name: str) -> None:
    attack(name, MANY)
