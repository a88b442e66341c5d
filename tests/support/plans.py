"""Plans of the toy parameter file, and run stores that look finished."""

from pathlib import Path

from bnbench.core.files import write_json
from bnbench.plan.plan import Plan
from tests.support.parameters import toy

AXES = "        seed: [0, 1]\n"


def ids(folder: Path, *edits: tuple[str, str]) -> list[str]:
    """Return the ids of the toy file's runs."""
    folder.mkdir(exist_ok=True)
    return list(Plan(toy(folder, *edits), root=folder).runs)


def store(folder: Path, names: list[str]) -> None:
    """Add runs to the store with the minimum that a plan checks: a folder with a `run.json`."""
    for name in names:
        write_json(folder / "results" / "runs" / name / "run.json", {})
