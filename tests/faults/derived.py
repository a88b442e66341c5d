"""Results derived from runs (tables, figures, report), and ways to damage them."""

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from bnbench.cli import main
from bnbench.workflow import Workflow

PARAMS = Path("params.yaml")
TABLES = ("runs", "history", "summary", "confusion", "probes")
# stage -> files that it writes in the miniature
WRITTEN = {
    "tables": (
        "results/metrics.json",
        "results/tables/curves.csv",
        *(f"results/tables/{name}.{kind}" for name in TABLES for kind in ("parquet", "csv")),
    ),
    "environment": tuple(
        f"results/tables/{name}.{kind}" for name in ("environment", "timings") for kind in ("parquet", "csv")
    ),
    "figures": tuple(f"reports/figures/S/f.{kind}" for kind in ("svg", "png", "csv", "md")),
    "report": tuple(f"reports/report.{kind}" for kind in ("md", "html", "pdf")),
}
IDENTITIES = {
    "tables": "results/tables/identity-*.json",
    "environment": "results/tables/environment-*.json",
    "figures": "reports/identity/figures-*.json",
    "report": "reports/identity/report-*.json",
}


def flip(path: Path, bit: int | None = None) -> None:
    """Flip one bit of a file, by default the middle one."""
    content = bytearray(path.read_bytes())
    bit = len(content) * 4 if bit is None else bit
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


HARMS: dict[str, Callable[[Path], object]] = {"flipped": flip, "cut": cut, "emptied": empty, "deleted": Path.unlink}


def another_value(folder: Path) -> None:
    """Change the accuracy of a run in `runs.parquet`, which stays a valid parquet file."""
    frame = pd.read_parquet(folder / "runs.parquet")
    frame.loc[0, "test_accuracy"] = 0.123
    frame.to_parquet(folder / "runs.parquet")


def start() -> Workflow:
    """Return the workflow as Snakemake builds it when it starts."""
    return Workflow(PARAMS, {})


def asked() -> set[str]:
    """Return the stages whose identity is missing after a start, which are those that Snakemake would run."""
    start()
    return {stage for stage, pattern in IDENTITIES.items() if not list(Path().glob(pattern))}


def plan_file() -> Path:
    return Path(start().record(None))


def told(*words: object) -> tuple[int, str]:
    """Run a command in this process and return its exit code and output."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = main([str(word) for word in words])
    return code, out.getvalue()


def stage(name: str, plan: Path) -> tuple[int, str]:
    """Run a stage by its command with a plan's file and return its exit code and output."""
    words: dict[str, list[str]] = {
        "tables": ["collect", "--store", "results/runs", "--out", "results/tables"],
        "figures": ["figures", "--tables", "results/tables", "--out", "reports/figures", "--workers", "1"],
        "report": ["report", "--tables", "results/tables", "--figures", "reports/figures", "--out", "reports"],
    }
    command, *rest = words[name]
    return told(command, plan, *rest)


@contextlib.contextmanager
def restored(*paths: Path) -> Iterator[None]:
    """Restore the content of files at the end of the block."""
    kept = {path: path.read_bytes() for path in paths}
    try:
        yield
    finally:
        for path, content in kept.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.write_bytes(content)
