"""Archive: one tier's results with all that made them, as an RO-Crate (https://w3id.org/ro/crate/1.1)."""

import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnbench.core import identities
from bnbench.core.atomic import explained
from bnbench.core.errors import UserError
from bnbench.core.git import revision
from bnbench.core.paths import Project
from bnbench.params.config import options
from bnbench.plan.plan import Plan
from bnbench.store import records

if TYPE_CHECKING:
    from rocrate.rocrate import ROCrate

TITLE = "What batch normalisation really does: results of bnbench"
HERE = Project()
# what is packed: place -> its description; what is not there is left out, but for the results
RESULTS = {
    HERE.metrics: "The few numbers",
    HERE.tables / "runs.csv": "A row per run: settings, status, accuracies",
    HERE.tables / "runs.parquet": "The same, with types",
    HERE.tables / "history.csv": "A row per run and evaluation",
    HERE.tables / "history.parquet": "The same, with types",
    HERE.tables / "summary.csv": "Mean, 95 % t interval and n over seeds of each cell",
    HERE.tables / "summary.parquet": "The same, with types",
    HERE.reports / "report.html": "The report, self-contained",
    HERE.reports / "report.pdf": "The report, to print",
    HERE.reports / "report.md": "The report's text",
}
SOURCES = {
    Path("dvc.yaml"): "The stages",
    Path("dvc.lock"): "Checksums of what made which result",
    Path("requirements.lock"): "The environment as pinned",
    Path("pyproject.toml"): "The package and what it needs",
    Path("README.md"): "How to use it",
}
FOLDERS = {
    HERE.figures: "Figures as .svg and .png, their data as .csv, their captions as .md",
    Path("src"): "The program",
}


def archive(plan: Plan, out: Path) -> None:
    """Write the crate, a folder or, if its name ends in .zip, one file.

    Raises:
        UserError: `out` exists, the results are not those of the plan, or the package rocrate is not installed.
        SystemFault: `out` cannot be written.
    """
    try:
        from rocrate.rocrate import ROCrate
    except ModuleNotFoundError:
        raise UserError("an RO-Crate is written by the package rocrate: pip install 'bnbench[archive]'") from None
    if out.exists():
        raise UserError(f"{out} exists; name another place, or remove it")
    check(plan)
    crate = ROCrate()
    describe(crate, plan)
    with tempfile.TemporaryDirectory(prefix="bnbench-archive-") as name, explained(out):
        fill(crate, plan, Path(name))
        (crate.write_zip if out.suffix == ".zip" else crate.write)(out)


def check(plan: Plan) -> None:
    """Whether tables, figures and report are those of the plan.

    Raises:
        UserError: they are not.
    """
    paths = plan.identities.values()
    wrong = [f"{path} is missing" for path in (*paths, *(plan.root / place for place in RESULTS)) if not path.is_file()]
    wrong += [] if wrong else [line for path in paths for line in identities.altered(path)]
    if wrong:
        raise UserError(
            f"only finished results are archived, and these are not whole, or not those of the parameters now: "
            f"{wrong[0]}; run snakemake {options(plan.params, plan.resolved.tier)}"
        )


def describe(crate: "ROCrate", plan: Plan) -> None:
    """What the crate says of itself."""
    git = revision(plan.root)
    crate.name = f"{TITLE}, tier {plan.resolved.tier}"
    crate.description = f"{len(plan.runs)} trainings in {len(plan.studies)} studies. {plan.resolved.about}"
    crate.license = "https://spdx.org/licenses/MIT"
    crate.datePublished = datetime.now(UTC)
    crate.root_dataset["version"] = git["commit"] if git and "commit" in git else "not under version control"
    crate.root_dataset["keywords"] = "batch normalization, reproducibility, benchmark"
    used = {run.dataset for run in plan.runs.values()}
    for name in sorted(used):
        dataset = plan.resolved.datasets[name]
        about = {"@type": "Dataset", "name": dataset.title, "license": dataset.licence, "identifier": plan.keys[name]}
        crate.root_dataset.append_to("isBasedOn", crate.add_jsonld({"@id": f"#data-{name}", **about}))


def fill(crate: "ROCrate", plan: Plan, working: Path) -> None:
    """Add files and folders, each described."""
    _add(crate, _parameters(plan, working), "params.yaml", "Every scientific choice")  # whatever its name here
    for place, about in (RESULTS | SOURCES).items():
        if (plan.root / place).is_file():
            _add(crate, plan.root / place, str(place), about)
    _add(crate, _environment(working), "environment.txt", "Every package that was installed, with its version")
    for place, about in FOLDERS.items():
        for path in sorted(_files(plan.root / place)):
            crate.add_file(path, str(path.relative_to(plan.root)))
        crate.add_dataset(dest_path=str(place), properties={"name": str(place), "description": about})
    for path in sorted(_files(plan.root / "workflow")):
        if path.name != "Snakefile":
            crate.add_file(path, str(path.relative_to(plan.root)))
    crate.add_workflow(plan.root / "workflow" / "Snakefile", "workflow/Snakefile", main=True, lang="snakemake")
    for path, record in records.readable(plan.project.provenance):
        if not plan.runs.keys().isdisjoint(record["runs"]):
            _add(crate, path, f"provenance/{path.name}", "Commit, data, libraries and processor of runs")


def _add(crate: "ROCrate", path: Path, place: str, about: str) -> Any:
    return crate.add_file(path, place, properties={"name": Path(place).name, "description": about})


def _files(folder: Path) -> Iterator[Path]:
    """The files of a folder, without what Python and pip leave there."""
    for path in folder.rglob("*"):
        if path.is_file() and not any(part == "__pycache__" or part.endswith(".egg-info") for part in path.parts):
            yield path


def _parameters(plan: Plan, folder: Path) -> Path:
    """Return the parameter file, or one complete file of the same values if it extends another (JSON is YAML too)."""
    if "extends" not in plan.resolved.values:
        return plan.params
    path = folder / "params.yaml"
    values = {key: value for key, value in plan.resolved.values.items() if key != "extends"}
    path.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return path


def _environment(folder: Path) -> Path:
    path = folder / "environment.txt"
    packages = {f"{found.metadata['Name']}=={found.version}" for found in distributions()}
    path.write_text("\n".join(sorted(packages, key=str.lower)) + "\n", encoding="utf-8")
    return path
