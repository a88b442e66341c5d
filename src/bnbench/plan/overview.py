"""The printed overview of `bnbench plan`: done and missing runs per study, and estimated times."""

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bnbench.plan import cost
from bnbench.plan.packs import PackRecord, divided
from bnbench.plan.plan import Plan

LONG = 24 * 3600  # seconds above which the overview also estimates GPU-hours


def overview(plan: Plan, workers: int, console: Console | None = None) -> None:
    """Print runs, packs, done and missing runs per study, and the estimated time on this machine.

    If that time is more than a day, the hours on one GPU are printed too.

    Args:
        plan: the plan.
        workers: processes that train at the same time.
        console: the terminal; None: standard output.
    """
    console = console or Console(highlight=False)
    factor = cost.correction(plan.project.timings) or 1.0
    console.print(f"Tier {plan.resolved.tier}: {plan.resolved.about}", markup=False)
    on_gpu = gpu_hours(plan)
    long = sum(pack.seconds for pack in plan.packs) * factor / workers > LONG
    table = Table(
        "study", "title", "work", "runs", "packs", "done", "missing", "time", *(["GPU-hours"] if long else [])
    )
    for column in table.columns[3:]:
        column.justify = "right"
    for study in plan.resolved.studies:
        runs = set(plan.studies[study.name])
        packs = [pack for pack in plan.packs if runs & pack.runs.keys()]
        took = sum(pack.seconds * len(runs & pack.runs.keys()) / len(pack.runs) for pack in packs) * factor / workers
        missing = len(runs - plan.stored)
        numbers = (len(runs), len(packs), len(runs) - missing, missing)
        shares = (on_gpu[pack.id] * len(runs & pack.runs.keys()) / len(pack.runs) for pack in packs)
        row = (*map(str, numbers), duration(took), *([f"{sum(shares):,.1f}"] if long else []))
        table.add_row(study.name, Text(study.study.title), study.study.work, *row)
    missing, total = len(plan.missing), len(plan.runs)
    took = cost.makespan([pack.seconds * factor for pack in divided(plan.packs, workers)], workers)
    took += cost.START_SECONDS if missing else 0
    table.add_section()
    sums = (total, len(plan.packs), total - missing, missing)
    hours = [f"{sum(on_gpu.values()):,.1f}"] if long else []
    table.add_row("all", "each run once", "", *map(str, sums), duration(took), *hours)
    console.print(table)
    console.print(f"{workers} workers of one thread on {cost.cpu()}", markup=False)
    if long:
        console.print(f"GPU-hours: {_source(plan)}", markup=False)


def elsewhere(plan: Plan, plans: Sequence[Plan], refused: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each group of stored runs that this plan does not contain.

    Args:
        plan: the plan.
        plans: the plans of all valid tiers.
        refused: the reason for each tier that is invalid.
    """
    tiers = {other.resolved.tier: len(plan.others & other.runs.keys()) for other in plans}
    counts = [f"{count} of tier {tier}" for tier, count in tiers.items() if count]
    if counts:
        yield f"also in {plan.store}: {', '.join(counts)}"
    if orphaned := plan.others.difference(*(other.runs for other in plans)):
        whose = "of no valid tier" if refused else "in no study of any tier; `bnbench prune` lists them"
        yield f"also in {plan.store}: {len(orphaned)} {whose}"
        yield from (f"tier {tier} is invalid: {problem}" for tier, problem in refused.items())


def _source(plan: Plan) -> str:
    if cost.correction(plan.project.timings, "cuda"):
        return "on one GPU, estimated from the packs that were trained on one so far"
    return f"on one GPU of {cost.GPU_RATE / 1e12:.0f} TFLOP/s in fp32, a guess until packs have been trained on a GPU"


def gpu_hours(plan: Plan) -> dict[str, float]:
    """Return the estimated hours of each pack on one GPU, by its id.

    They follow from packs trained on a GPU so far, or else from the arithmetic of a large GPU.
    """
    factor = cost.correction(plan.project.timings, "cuda")
    return {pack.id: (pack.seconds * factor if factor else _at_rate(plan, pack)) / 3600 for pack in plan.packs}


def _at_rate(plan: Plan, pack: PackRecord) -> float:
    run = pack.some_run
    augmentation = plan.resolved.augmentations.get(run.augmentation)
    dataset = plan.resolved.datasets[run.dataset]
    return cost.gpu_seconds(list(pack.runs.values()), dataset, augmentation.times if augmentation else 1)


def duration(seconds: float) -> str:
    """Return a duration as text: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
