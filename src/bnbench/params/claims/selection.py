"""Selection of the runs that a claim compares, from the settings of runs alone.

The same function selects before training, to refuse what could not be judged, and after it, to judge.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from bnbench.params import architecture
from bnbench.params.claims.schema import Arm, Contrast, Interaction
from bnbench.params.run_schema import Run, Where

Features = dict[str, Any]  # settings of a run, and `network`
BySeed = dict[int, list[str]]  # seed -> ids of the runs of one arm


def features(run: Run) -> Features:
    """Return a run's settings and the columns derived from them."""
    return run.model_dump() | {"network": architecture.kind(run.model)}


def matches(run: Features, where: Where) -> bool:
    """Return whether a run has the values of a filter; a list of models names alternatives."""
    given = where.model_dump(exclude_unset=True, exclude={"pick"})
    return all(
        run[name] in value if name == "model" and isinstance(value, list) else run[name] == value
        for name, value in given.items()
    )


def by_seed(runs: Mapping[str, Features], *wheres: Where) -> BySeed:
    """Return the runs that have the values of all filters, by seed."""
    found: BySeed = defaultdict(list)
    for run_id, run in runs.items():
        if all(matches(run, where) for where in wheres):
            found[run["seed"]].append(run_id)
    return dict(found)


def strata(contrast: Contrast, runs: Mapping[str, Features]) -> Iterator[tuple[str, dict[str, Features]]]:
    """Yield the name and the runs of each value of `each`; all runs, without a name, if there is none."""
    chosen = {run_id: run for run_id, run in runs.items() if matches(run, contrast.where)}
    if contrast.each is None:
        yield "", chosen
        return
    for value in dict.fromkeys(str(run[contrast.each]) for run in chosen.values()):
        yield value, {run_id: run for run_id, run in chosen.items() if str(run[contrast.each]) == value}


def cells(contrast: Contrast) -> dict[str, tuple[Arm, ...]]:
    """Return the filters of each set of runs whose values are compared, by the name of the arm."""
    arms = contrast.arms
    if isinstance(contrast, Interaction):
        return {f"{arm}, {side}": (arms[arm], arms[side]) for side in ("gains", "than") for arm in ("more", "less")}
    return {name: (arm,) for name, arm in arms.items()} or {"": ()}


def seeds(contrast: Contrast, runs: Mapping[str, Features]) -> set[int]:
    """Return the seeds that all arms have in common."""
    return set.intersection(*(set(by_seed(runs, *filters)) for filters in cells(contrast).values()))
