"""The project in miniature, under git and DVC: four very short runs, one figure."""

import contextlib
import csv
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from bnbench.claims.table import judge
from bnbench.core import identities
from bnbench.data.prepare import prepare
from bnbench.figures.draw import draw
from bnbench.plan.packs import write_packs
from bnbench.plan.plan import Plan
from bnbench.report.render import write
from bnbench.tables.collect import collect
from bnbench.training.job import train_job
from bnbench.training.worker import Workspace
from tests.support.little import ROOT
from tests.support.parameters import toy

EDITS = (
    ("studies:\n  S:", "augmentations: {}\nstudies:\n  S:"),
    ("base: {epochs: 4}", "base: {epochs: 1, model: 64-8-10, batch_size: 100}"),
    ("title: A study\n", "title: A study\n    tiers: {small: {base: {epochs: 2}}}\n"),
    ("learning_rate: [0.1, 1]", "learning_rate: [0.1]"),
    ("hue: norm\n", "hue: norm\n        where: {epochs: 1}\n"),
)
COPIED = ("dvc.yaml", "workflow", "src", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore", ".dvc/plots")
SHOWN = ("results/metrics.json", "reports/report.html", "reports/report.pdf")


@dataclass(frozen=True)
class Project:
    """A clone or copy of the project: its commands, files and results."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of its commands: this Python's programs, this folder's code, a separate DVC cache."""
        paths = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder / "src"),
            "DVC_SITE_CACHE_DIR": str(self.folder.parent / "site"),
        }
        names = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        return {**os.environ, **paths, **names, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}

    def run(self, command: str, *more: str, code: int | None = 0) -> str:
        """Run a command, check its exit code and the absence of a traceback, and return its output."""
        done = subprocess.run(
            [*command.split(), *more],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        told = done.stdout + done.stderr
        assert code in (done.returncode, None), f"{command}: {done.returncode}\n{told}"
        assert "Traceback" not in told, told
        return told

    def edit(self, old: str, new: str, name: str = "params.yaml") -> None:
        """Replace a text that occurs exactly once in a file."""
        path = self.folder / name
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
        path.write_text(text.replace(old, new))

    def commit(self) -> None:
        """Commit all files to git."""
        self.run("git add -A")
        self.run("git commit -q --allow-empty -m state")

    def stored(self) -> dict[str, bytes]:
        """Return the content of every file of the run store."""
        store = self.folder / "results" / "runs"
        return {str(path.relative_to(store)): path.read_bytes() for path in sorted(store.glob("*/*"))}

    def outputs(self) -> dict[str, bytes]:
        """Return the content of all published results but the machine's own: tables, numbers, figures, report."""
        tables = sorted((self.folder / "results" / "tables").iterdir())
        tables = [path for path in tables if not path.name.startswith(identities.MACHINE)]
        figures = sorted(path for path in (self.folder / "reports" / "figures").rglob("*") if path.is_file())
        paths = [*tables, *figures, *(self.folder / name for name in SHOWN)]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}


def miniature(folder: Path) -> Project:
    """Create the project in miniature in `folder`, committed to its own git repository."""
    folder.mkdir(parents=True)
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, target)
    toy(folder, *EDITS)
    project = Project(folder)
    project.run("git init -q")
    project.commit()
    return project


def trained(told: str) -> int:
    """Return the number of runs that a start trained, from its output: `3 runs: 2 ok, 1 diverged`."""
    counts = [line.split(" runs:")[0].strip() for line in told.splitlines() if " runs: " in line]
    return sum(int(count) for count in counts if count.isdigit())


def asked(values: dict[str, Any]) -> set[tuple[str, float, int, int]]:
    """Return norm, learning rate, seed and epochs of each run that the miniature's parameters request."""
    study = values["studies"]["S"]
    grid = study["grid"]
    runs = set()
    for axes in [grid["product"], *grid.get("include", [])]:
        full = {"norm": ["batch"], "learning_rate": [0.1], "seed": [0], "epochs": [study["base"]["epochs"]]} | axes
        rows = itertools.product(*(full[name] for name in ("norm", "learning_rate", "seed", "epochs")))
        runs |= {(norm, float(rate), seed, epochs) for norm, rate, seed, epochs in rows}
    return runs


def belongs(project: Project) -> None:
    """Check that tables, numbers, figure and report match the parameters, without using the program's own code."""
    values = YAML(typ="safe", pure=True).load((project.folder / "params.yaml").read_text())
    results = project.folder / "results"
    with (results / "tables" / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    keys = [(row["norm"], float(row["learning_rate"]), int(row["seed"]), int(row["max_epochs"])) for row in rows]
    assert len(keys) == len(set(keys))
    assert set(keys) == asked(values)
    for row in rows:
        stored = json.loads((results / "runs" / row["run_id"] / "run.json").read_text())
        assert stored["status"] == row["status"]
        assert stored["test_accuracy"] == (float(row["test_accuracy"]) if row["test_accuracy"] else None)
    ok = sum(row["status"] == "ok" for row in rows)
    metrics = json.loads((results / "metrics.json").read_text())
    assert (metrics["runs"], metrics["ok"], metrics["diverged"]) == (len(rows), ok, len(rows) - ok)
    with (results / "tables" / "history.csv").open() as file:
        assert {row["run_id"] for row in csv.DictReader(file)} <= {row["run_id"] for row in rows}
    title = values["studies"]["S"]["figures"]["f"]["title"]
    drawn = (project.folder / "reports" / "figures" / "S" / "f.md").read_text()
    assert title in drawn
    with (project.folder / "reports" / "figures" / "S" / "f.csv").open() as file:
        assert {float(row["learning_rate"]) for row in csv.DictReader(file)} == {key[1] for key in keys}
    report = (project.folder / "reports" / "report.html").read_text()
    assert title in report
    assert [len(list((results / "tables").glob("identity-*"))), len(list(results.glob("../reports/identity/*")))] == [
        1,
        2,
    ]


def locked(project: Project) -> None:
    """Check that `dvc.lock` matches the current parameters and files."""
    values = YAML(typ="safe", pure=True).load((project.folder / "params.yaml").read_text())
    stages = YAML(typ="safe", pure=True).load((project.folder / "dvc.lock").read_text())["stages"]
    assert list(stages) == ["data", "train", "tables", "report"]
    for stage in stages.values():
        for key, value in stage["params"]["params.yaml"].items():
            here = values
            for part in key.split("."):
                here = here[part]
            assert value == here, key
    files = [out for stage in stages.values() for out in stage["outs"] if not out["md5"].endswith(".dir")]
    for out in files:
        assert hashlib.md5((project.folder / out["path"]).read_bytes()).hexdigest() == out["md5"], out["path"]
    assert {out["path"] for out in files} == {
        "results/metrics.json",
        *(f"reports/report.{kind}" for kind in ("html", "md", "pdf")),
    }
    assert "up to date" in project.run("dvc status")


def finished(folder: Path, *edits: tuple[str, str]) -> Path:
    """Build the miniature's results in `folder` after these edits, stage by stage, without git, DVC and Snakemake."""
    folder.mkdir(parents=True)
    toy(folder, *EDITS, *edits)
    shutil.copytree(ROOT / "workflow", folder / "workflow")
    with contextlib.chdir(folder):
        plan = Plan(Path("params.yaml"))
        prepare("digits", plan.resolved.datasets["digits"], None, Path(plan.packs[0].data))
        write_packs(Path(".bnbench/job.json"), plan.packs)
        place = Workspace(Path("results/runs"), Path("results/timings"), Path(".bnbench"))
        train_job(Path(".bnbench/job.json"), replace(place, provenance=Path("results/provenance")), workers=1)
        record, tables, figures = plan.record(), Path("results/tables"), Path("reports/figures")
        collect(record, Path("results/runs"), tables, judge)
        draw(record, tables, figures, 1)
        write(record, tables, figures, Path("reports"))
    return folder
