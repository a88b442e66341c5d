"""Rules that the schema cannot express, for grids, runs, figures and published values of a study.

Each check yields problems; `resolve` reports them with file and line.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bnbench.core.yaml_reader import Key
from bnbench.params import grid, run_rules
from bnbench.params.fields import CLASSES, MEASURES
from bnbench.params.figure_kinds import KINDS
from bnbench.params.problems import Problem, nearest
from bnbench.params.run_schema import Run
from bnbench.params.schema import Params
from bnbench.params.study_schema import Figure, Measure, Published, Study

RANGED = ("learning_rate", "batch_size")  # settings that may have a usable range
PROBE_COLUMNS = ("step", "epoch", "part", "layer", "quantity", "item")  # which measurement a row of a probe is
# examples of the keys that kinds of figures need
EXAMPLES = {"y": "test_accuracy", "x": "learning_rate", "against": "batch_size", "probe": "outputs"}


def of_tier(params: Params) -> Iterator[Problem]:
    """Yield a problem if the file does not define its tier."""
    if params.tier not in params.tiers:
        yield Problem(("tiers",), f"tier {params.tier!r} has no entry here; add one")


def of_grid(study: str, merged: grid.Grid) -> Iterator[Problem]:
    """Yield a problem for each reason why a study's grid, merged with its tier's, cannot be expanded."""
    key = ("studies", study, "grid")
    if not grid.axes(merged):
        example = "name at least one setting with its values, as `seed: [0, 1, 2]`"
        yield Problem(key, f"the grid is empty; {example}")
    parts = [(part, name) for part in ("product", "zip", "around") for name in merged.get(part) or {}]
    for name in dict.fromkeys(name for _, name in parts):
        both = [part for part, other in parts if other == name]
        if len(both) > 1:
            yield Problem(key, f"{name} varies in {' and '.join(both)}; keep it in one of them")
    lengths = {name: len(values) for name, values in (merged.get("zip") or {}).items()}
    if len(set(lengths.values())) > 1:
        yield Problem(key, f"zip joins lists of one length, got {lengths}")


def of_size(params: Params, grids: Mapping[str, grid.Grid]) -> Iterator[Problem]:
    """Yield a problem if the merged grids of all studies together have more runs than the file allows.

    Checked before the grids are expanded: to make a million runs only to refuse them takes minutes and gigabytes.
    """
    sizes = {name: grid.size(merged) for name, merged in grids.items()}
    total, limit = sum(sizes.values()), params.max_runs
    if total > limit:
        largest = max(sizes, key=lambda name: sizes[name])
        rest = "" if len(sizes) == 1 else f", all studies of tier {params.tier} together {total}"
        remedy = f"use fewer values, or allow them by `max_runs: {total}` at the top of the file"
        rule = f"the grid has {sizes[largest]} runs{rest}; at most {limit} (max_runs)"
        yield Problem(("studies", largest, "grid"), f"{rule}; {remedy}")


def of_runs(values: dict[str, Any], params: Params, study: str, runs: Iterable[Run]) -> Iterator[Problem]:
    """Yield a problem per contradiction among the settings of a study's runs, at the key where the value was set."""
    if not runs:
        yield Problem(("studies", study, "grid"), "the grid is empty; exclude fewer runs")
    for run in {_checked_settings(run): run for run in runs}.values():
        for setting, reason in run_rules.violations(params, run):
            key = _set_at(values, params.tier, study, (setting, run.model_dump()[setting]))
            yield Problem(key, f"{reason} (study {study}, tier {params.tier})")


def of_figures(name: str, study: Study, runs: Iterable[Run]) -> Iterator[Problem]:
    """Yield a problem per unknown or missing name in the figures and published values of a study."""
    probes = {CLASSES, *(str(probe) for run in runs for probe in run.probes)}
    for figure, options in study.figures.items():
        yield from of_figure(("studies", name, "figures", figure), options, probes)
    for index, published in enumerate(study.published):
        yield from of_published(("studies", name, "published", index), published, probes)


def of_figure(key: Key, figure: Figure, probes: set[str]) -> Iterator[Problem]:
    """Yield a problem per missing or unknown name in a figure.

    Args:
        key: the figure's key in the parameter file.
        figure: the figure.
        probes: names of the probes that the study's runs record.
    """
    yield from _of_keys(key, figure)
    settings = [*Run.model_fields, "network", *(PROBE_COLUMNS if figure.probe else ())]
    for name in ("x", "against", "hue", "col", "row"):
        value = getattr(figure, name)
        known = ["epoch", "step"] if KINDS[figure.kind].time and name == "x" else settings
        if value is not None and value not in known:
            rule = f"{value!r} is no setting of a run; known are {', '.join(known)}"
            yield Problem((*key, name), f"{rule}{nearest(value, known)}")
    if figure.within is not None and (figure.kind != "sweep" or figure.x not in RANGED):
        rule = f"within is for sweeps with x: {' or x: '.join(RANGED)}"
        yield Problem((*key, "within"), f"{rule}, not for a {figure.kind} of {figure.x}; leave it out")
    yield from _of_measure(key, figure, probes)


def _of_keys(key: Key, figure: Figure) -> Iterator[Problem]:
    """Yield a problem per key that a figure's kind needs and is missing, and per key that the kind would ignore."""
    kind = KINDS[figure.kind]
    for name in kind.needs:
        if getattr(figure, name) is None:
            rule = f"a figure of kind {figure.kind} needs {name}"
            yield Problem((*key, name), f"{rule}, as `{name}: {EXAMPLES[name]}`")
    given = figure.model_dump(exclude_unset=True, exclude_none=True).keys()
    for name in sorted(given - kind.keys - {"within"}):  # `within` has a rule of its own
        rule = f"a figure of kind {figure.kind} has no {name}"
        yield Problem((*key, name), f"{rule} (its keys are {', '.join(sorted(kind.keys))}); leave it out")
    if isinstance(figure.y, list) and not kind.time:
        rule = f"a figure of kind {figure.kind} shows one measure, got {', '.join(figure.y)}"
        yield Problem((*key, "y"), f"{rule}; use one, or a figure of kind curves")


def of_published(key: Key, published: Published, probes: set[str]) -> Iterator[Problem]:
    """Yield a problem per unknown name and per contradiction in a published value; arguments as for `of_figure`."""
    numbers = published.value if isinstance(published.value, list) else [published.value]
    if (published.x is None) != (published.within is None):
        yield Problem(key, "a usable range needs both x and within, as in a sweep; add the other")
    if published.x and (len(numbers) != 2 or numbers[0] > numbers[1] or published.by):
        rule = "a usable range has two ends, the lower one first, and no `by`"
        yield Problem((*key, "value"), f"{rule}, as `value: [5e-6, 5e-2]`; got {published.value}")
    yield from _of_measure(key, published, probes)


def _of_measure(key: Key, measure: Measure, probes: set[str]) -> Iterator[Problem]:
    """Check the probe, or the columns, that a figure or a published value takes its numbers from."""
    if measure.probe is not None:
        if measure.probe not in probes:
            recorded = ", ".join(sorted(probes)) or "none"
            rule = f"the study's runs do not record {measure.probe!r} (recorded: {recorded})"
            remedy = f"add it to `probes` of the study's base{nearest(measure.probe, sorted(probes))}"
            yield Problem((*key, "probe"), f"{rule}; {remedy}")
        return
    for name in measure.y if isinstance(measure.y, list) else [measure.y]:
        if name is not None and name not in MEASURES:
            rule = f"{name!r} is not measured; known are {', '.join(MEASURES)}"
            yield Problem((*key, "y"), f"{rule}{nearest(name, list(MEASURES))}")


def _checked_settings(run: Run) -> str:
    """Return the settings that a rule mentions; runs that agree in them are checked once."""
    return run.model_dump_json(exclude={"seed", "learning_rate"})


def _set_at(values: dict[str, Any], tier: str, study: str, setting: tuple[str, Any]) -> Key:
    """Return the key that gave a run's setting its value: that of the strongest source that holds it."""
    name, value = setting
    own: Key = ("studies", study)
    grids: list[Key] = [(*own, "tiers", tier, "grid"), (*own, "grid")]
    axes = [(*key, part) for key in grids for part in ("product", "zip", "around")]
    axes += [(*key, "include", i) for key in grids for i in range(len(_at(values, (*key, "include")) or []))]
    for key in axes:
        listed = _at(values, (*key, name)) or []
        if value in listed:
            return (*key, name, listed.index(value))
    bases: list[Key] = [(*own, "tiers", tier, "base"), (*own, "base"), ("tiers", tier, "base")]
    return next(((*base, name) for base in bases if _at(values, (*base, name)) == value), ("training", name))


def _at(values: Any, key: Key) -> Any:
    """Return the value at a key, or None if there is none."""
    for part in key:
        if isinstance(values, dict):
            values = values.get(part)
        elif isinstance(values, list) and isinstance(part, int):
            values = values[part]
    return values
