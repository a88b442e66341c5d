"""`bnbench plan` as a person reads it: per study, what is done, what is missing, how long it will take."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bnbench import cost
from bnbench.plan import Plan


def overview(plan: Plan, workers: int, console: Console | None = None) -> None:
    """Print the plan: runs, packs, done and missing per study; orphans; the estimated time on this machine."""
    console = console or Console(highlight=False)
    factor = cost.correction(plan.root / "results" / "timings") or 1.0
    console.print(f"Tier {plan.resolved.tier}: {plan.resolved.about}", markup=False)
    table = Table("study", "title", "work", "runs", "packs", "done", "missing", "time")
    for column in table.columns[3:]:
        column.justify = "right"
    for study in plan.resolved.studies:
        runs = set(plan.studies[study.name])
        packs = [pack for pack in plan.packs if runs & pack.runs.keys()]
        took = sum(pack.seconds * len(runs & pack.runs.keys()) / len(pack.runs) for pack in packs) * factor / workers
        missing = len(runs - plan.stored)
        numbers = (len(runs), len(packs), len(runs) - missing, missing)
        table.add_row(study.name, Text(study.study.title), study.study.work, *map(str, numbers), duration(took))
    missing, total = len(plan.missing), len(plan.runs)
    took = cost.makespan([pack.seconds * factor for pack in plan.packs], workers)
    took += cost.START_SECONDS if missing else 0
    table.add_section()
    sums = (total, len(plan.packs), total - missing, missing)
    table.add_row("all", "each run once", "", *map(str, sums), duration(took))
    console.print(table)
    console.print(f"{workers} workers of one thread on {cost.cpu()}", markup=False)
    if plan.orphaned:
        text = f"{len(plan.orphaned)} orphaned runs in {plan.store}: in the store, but in no study of this tier"
        console.print(text, markup=False)


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
