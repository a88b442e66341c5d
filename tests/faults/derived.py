"""What was made of runs, and ways to harm it."""

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from bnbench.cli import main
from bnbench.workflow import Workflow

PARAMS = Path("params.yaml")
TABLES = ("runs", "history", "summary", "confusion", "probes")
# stage -> the files that it writes in the miniature
WRITTEN = {
    "tables": (
        "results/metrics.json",
        "results/tables/curves.csv",
        *(f"results/tables/{name}.{kind}" for name in TABLES for kind in ("parquet", "csv")),
    ),
    "figures": tuple(f"reports/figures/S/f.{kind}" for kind in ("svg", "png", "csv", "md")),
    "report": tuple(f"reports/report.{kind}" for kind in ("md", "html", "pdf")),
}
IDENTITIES = {
    "tables": "results/tables/identity-*.json",
    "figures": "reports/identity/figures-*.json",
    "report": "reports/identity/report-*.json",
}


def flip(path: Path, bit: int | None = None) -> None:
    """Change one bit, the middle one unless another is named."""
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
    """Give a run another accuracy in `runs.parquet`, which stays a parquet file."""
    frame = pd.read_parquet(folder / "runs.parquet")
    frame.loc[0, "test_accuracy"] = 0.123
    frame.to_parquet(folder / "runs.parquet")


def start() -> Workflow:
    """What Snakemake has at its start."""
    return Workflow(PARAMS, {})


def asked() -> set[str]:
    """The stages whose identity is missing at a start, and which Snakemake so runs."""
    start()
    return {stage for stage, pattern in IDENTITIES.items() if not list(Path().glob(pattern))}


def plan_file() -> Path:
    return Path(start().record(None))


def told(*words: object) -> tuple[int, str]:
    """A command's exit code and all that it says."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = main([str(word) for word in words])
    return code, out.getvalue()


def stage(name: str, plan: Path) -> tuple[int, str]:
    """Do a stage by hand, with a plan's file; its exit code and all that it says."""
    words: dict[str, list[str]] = {
        "tables": ["collect", "--store", "results/runs", "--out", "results/tables"],
        "figures": ["figures", "--tables", "results/tables", "--out", "reports/figures", "--workers", "1"],
        "report": ["report", "--tables", "results/tables", "--figures", "reports/figures", "--out", "reports"],
    }
    command, *rest = words[name]
    return told(command, plan, *rest)


@contextlib.contextmanager
def restored(*paths: Path) -> Iterator[None]:
    """Put files back as they were."""
    kept = {path: path.read_bytes() for path in paths}
    try:
        yield
    finally:
        for path, content in kept.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.write_bytes(content)
