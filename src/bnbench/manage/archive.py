"""Archive of one tier: its results and everything that made them, as an RO-Crate (https://w3id.org/ro/crate/1.1)."""

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
from bnbench.core.paths import RELATIVE
from bnbench.params.config import options
from bnbench.plan.plan import Plan
from bnbench.store import records

if TYPE_CHECKING:
    from rocrate.rocrate import ROCrate

TITLE = "What batch normalisation really does: results of bnbench"
# path -> description; all results must exist, sources and folders are packed if they do
RESULTS = {
    RELATIVE.metrics: "The few numbers",
    RELATIVE.tables / "runs.csv": "A row per run: settings, status, accuracies",
    RELATIVE.tables / "runs.parquet": "The same, with types",
    RELATIVE.tables / "history.csv": "A row per run and evaluation",
    RELATIVE.tables / "history.parquet": "The same, with types",
    RELATIVE.tables / "summary.csv": "Mean, 95 % t interval and n over seeds of each cell",
    RELATIVE.tables / "summary.parquet": "The same, with types",
    RELATIVE.tables / "environment.csv": "Processor, device, engine and libraries of each run",
    RELATIVE.tables / "environment.parquet": "The same, with types",
    RELATIVE.tables / "timings.csv": "Wall time of the pack that each run was trained in",
    RELATIVE.tables / "timings.parquet": "The same, with types",
    RELATIVE.reports / "report.html": "The report, self-contained",
    RELATIVE.reports / "report.pdf": "The report, to print",
    RELATIVE.reports / "report.md": "The report's text",
}
SOURCES = {
    Path("dvc.yaml"): "The stages",
    Path("dvc.lock"): "Checksums of parameters, data and code that each result was made from",
    Path("requirements.lock"): "The pinned environment",
    Path("pyproject.toml"): "The package and its dependencies",
    Path("README.md"): "How to use it",
}
FOLDERS = {
    RELATIVE.figures: "Figures as .svg and .png, their data as .csv, their captions as .md",
    Path("src"): "The source code",
}


def archive(plan: Plan, out: Path) -> None:
    """Write the crate: a folder, or one file if the name ends in .zip.

    Raises:
        UserError: `out` exists, the results are not those of the plan, or the package rocrate is not installed.
        SystemFault: `out` cannot be written.
    """
    try:
        from rocrate.rocrate import ROCrate
    except ModuleNotFoundError:
        raise UserError("an RO-Crate is written by the package rocrate: pip install 'bnbench[archive]'") from None
    if out.exists():
        raise UserError(f"{out} exists; name another path, or remove it")
    check(plan)
    crate = ROCrate()
    describe(crate, plan)
    with tempfile.TemporaryDirectory(prefix="bnbench-archive-") as name, explained(out):
        fill(crate, plan, Path(name))
        (crate.write_zip if out.suffix == ".zip" else crate.write)(out)


def check(plan: Plan) -> None:
    """Check that tables, figures and report exist, are unaltered and belong to the plan.

    Raises:
        UserError: they do not; the message names the first problem and the remedy.
    """
    paths = plan.identities.values()
    wrong = [f"{path} is missing" for path in (*paths, *(plan.root / path for path in RESULTS)) if not path.is_file()]
    wrong += [] if wrong else [line for path in paths for line in identities.altered(path)]
    if wrong:
        raise UserError(
            f"only finished, unaltered results of the present parameters are archived, but {wrong[0]}; "
            f"run snakemake {options(plan.params, plan.resolved.tier)}"
        )


def describe(crate: "ROCrate", plan: Plan) -> None:
    """Add name, licence, version and data sets to the crate's own description."""
    git = revision(plan.root)
    crate.name = f"{TITLE}, tier {plan.resolved.tier}"
    crate.description = f"{len(plan.runs)} trainings in {len(plan.studies)} studies. {plan.resolved.about}"
    crate.license = "https://spdx.org/licenses/MIT"
    crate.datePublished = datetime.now(UTC)
    crate.root_dataset["version"] = git["commit"] if git and "commit" in git else "not under version control"
    crate.root_dataset["keywords"] = "batch normalization, reproducibility, benchmark"
    for name in sorted({run.dataset for run in plan.runs.values()}):
        dataset = plan.resolved.datasets[name]
        about = {"@type": "Dataset", "name": dataset.title, "license": dataset.licence, "identifier": plan.keys[name]}
        crate.root_dataset.append_to("isBasedOn", crate.add_jsonld({"@id": f"#data-{name}", **about}))


def fill(crate: "ROCrate", plan: Plan, working: Path) -> None:
    """Add files and folders with their descriptions.

    Args:
        crate: the crate.
        plan: the plan of the results.
        working: a folder for files that are written for the crate alone.
    """
    _add(crate, _parameters(plan, working), "params.yaml", "Every scientific choice")  # whatever its name here
    for path, about in (RESULTS | SOURCES).items():
        if (plan.root / path).is_file():
            _add(crate, plan.root / path, str(path), about)
    _add(crate, _environment(working), "environment.txt", "Every installed package with its version")
    for folder, about in FOLDERS.items():
        for path in sorted(_files(plan.root / folder)):
            crate.add_file(path, str(path.relative_to(plan.root)))
        crate.add_dataset(dest_path=str(folder), properties={"name": str(folder), "description": about})
    for path in sorted(_files(plan.root / "workflow")):
        if path.name != "Snakefile":
            crate.add_file(path, str(path.relative_to(plan.root)))
    crate.add_workflow(plan.root / "workflow" / "Snakefile", "workflow/Snakefile", main=True, lang="snakemake")
    for path, record in records.readable(plan.project.provenance):
        if not plan.runs.keys().isdisjoint(record["runs"]):
            _add(crate, path, f"provenance/{path.name}", "Commit, data, libraries and environment of runs")


def _add(crate: "ROCrate", path: Path, destination: str, about: str) -> Any:
    return crate.add_file(path, destination, properties={"name": Path(destination).name, "description": about})


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder, except caches of Python and metadata of pip."""
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
    """Write the list of installed packages; return its path."""
    path = folder / "environment.txt"
    packages = {f"{found.metadata['Name']}=={found.version}" for found in distributions()}
    path.write_text("\n".join(sorted(packages, key=str.lower)) + "\n", encoding="utf-8")
    return path
