"""Rules about claims that the schema cannot express: what they name exists, and can be compared, before any training.

What training alone can show (no spread between seeds, an arm whose runs all diverge) makes a claim undecided later.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bnbench.core.yaml_reader import Key
from bnbench.params.claims import selection
from bnbench.params.claims.schema import SEEDS, Arm, Claim, Contrast, Every, Level, Order, Range
from bnbench.params.claims.selection import Features
from bnbench.params.fields import CLASSES, MEASURES, Tier
from bnbench.params.problems import Problem, nearest
from bnbench.params.run_schema import Run


@dataclass(frozen=True)
class Declared:
    """A study's declarations: its work, its claims, and its runs in the tier."""

    work: str | None
    claims: Mapping[str, Claim]
    runs: Sequence[Run]


def violations(studies: Mapping[str, Declared], works: Sequence[str], tier: Tier) -> Iterator[Problem]:
    """Yield a problem per unknown name and per comparison that no run of the tier could decide."""
    judged = studies if any(study.claims for study in studies.values()) else {}
    runs = {
        name: {str(number): selection.features(run) for number, run in enumerate(study.runs)}
        for name, study in judged.items()
    }
    owners: dict[str, str] = {}
    for name, study in studies.items():
        if study.work is not None and study.work not in works:
            known = f"declared are {', '.join(works) or 'none'}{nearest(study.work, list(works))}"
            yield Problem(
                ("studies", name, "work"),
                f"no work {study.work!r} under works; {known}; declare it there, or leave `work` out",
            )
        for claim, definition in study.claims.items():
            key: Key = ("studies", name, "claims", claim)
            if (owner := owners.setdefault(claim, name)) != name:
                yield Problem(key, f"study {owner} has a claim of this name; choose another one")
            for inner, contrast in _contrasts(key, definition):
                yield from _of_contrast(inner, contrast, contrast.study or name, runs, tier)


def _contrasts(key: Key, claim: Claim) -> Iterator[tuple[Key, Contrast]]:
    if isinstance(claim.test, Every):
        yield from (((*key, "test", "parts", i), part) for i, part in enumerate(claim.test.parts))
    else:
        yield (*key, "test"), claim.test


def _of_contrast(
    key: Key, contrast: Contrast, study: str, runs: Mapping[str, dict[str, Features]], tier: Tier
) -> Iterator[Problem]:
    """Yield the problems of one comparison."""
    if study not in runs:
        yield Problem(
            (*key, "study"), f"no study {study!r}; the file has {', '.join(runs)}{nearest(study, list(runs))}"
        )
        return
    yield from _of_quantity(key, contrast, runs[study])
    yield from _of_keys(key, contrast, tier)
    yield from _of_published(key, contrast)
    known = [*Run.model_fields, "network"]
    for name in ("each", "across"):
        if (value := getattr(contrast, name)) is not None and value not in known:
            yield Problem((*key, name), f"{value!r} is no setting of a run{nearest(value, known)}")
            return
    chosen = list(selection.strata(contrast, runs[study]))
    if not chosen or not any(part for _, part in chosen):
        yield _no_run((*key, "where"), contrast.where, study, tier)
    for value, part in chosen if chosen and chosen[0][1] else ():
        yield from _of_cells(key, contrast, (study, tier, f" with {contrast.each} {value}" if value else ""), part)


def _of_quantity(key: Key, contrast: Contrast, runs: Mapping[str, Features]) -> Iterator[Problem]:
    """Yield a problem if the study's runs do not measure what is compared."""
    if contrast.probe is None:
        if contrast.y not in MEASURES:
            rule = f"{contrast.y!r} is not measured; known are {', '.join(MEASURES)}"
            yield Problem((*key, "y"), f"{rule}{nearest(str(contrast.y), list(MEASURES))}")
        return
    recorded = sorted({CLASSES, *(probe for run in runs.values() for probe in run["probes"])})
    if contrast.probe not in recorded:
        rule = f"the study's runs do not record {contrast.probe!r} (recorded: {', '.join(recorded)})"
        yield Problem((*key, "probe"), f"{rule}; add it to `probes` of the study's base")


def _of_keys(key: Key, contrast: Contrast, tier: Tier) -> Iterator[Problem]:
    """Yield a problem per combination of keys that has no meaning."""
    if contrast.during and contrast.reduce is None:
        yield Problem((*key, "during"), "one number is compared, not one per evaluation; add `reduce`, as `largest`")
    if contrast.across is not None and contrast.reduce is None:
        yield Problem((*key, "across"), "one number is compared, not one per run; add `reduce`, as `spread`")
    if contrast.reach is not None and contrast.target(tier) is None:
        yield Problem((*key, "reach"), f"no value for tier {tier}; add one, as `{tier}: 0.9`")
    if contrast.reach is not None and (contrast.probe or contrast.reduce):
        yield Problem((*key, "reach"), "is about a column of the table history; leave `probe` and `reduce` out")


def _of_published(key: Key, contrast: Contrast) -> Iterator[Problem]:
    """Yield a problem per published number that its quantity cannot have."""
    if contrast.published and len(contrast.published) != len(contrast.arms):
        rule = f"one published value for each of {', '.join(contrast.arms) or 'no arm'}, in this order"
        yield Problem((*key, "published"), f"{rule}; got {len(contrast.published)}")
    if contrast.reach is not None or isinstance(contrast, Range):
        return
    bounds = contrast.limits
    numbers: list[tuple[Key, float]] = [((*key, "published", i), value) for i, value in enumerate(contrast.published)]
    if isinstance(contrast, Level):
        numbers.append(((*key, "value"), contrast.value))
    for place, value in numbers:
        if not bounds[0] <= value <= bounds[1]:
            remedy = "write 0.985 for 98.5 %" if bounds == (0, 1) else "correct it"
            yield Problem(place, f"{contrast.y} lies within {bounds[0]:g} and {bounds[1]:g}, got {value:g}; {remedy}")


def _of_cells(
    key: Key, contrast: Contrast, place: tuple[str, Tier, str], runs: dict[str, Features]
) -> Iterator[Problem]:
    """Yield a problem per arm without runs, per arm of several cells, and for too few seeds."""
    study, tier, stratum = place
    for name, filters in selection.cells(contrast).items():
        found = selection.by_seed(runs, *filters)
        at = (*key, *_place(contrast, name))
        if not found:
            yield _no_run(at, filters[-1] if filters else contrast.where, f"{study}{stratum}", tier)
            return
        several = next((ids for ids in found.values() if len(ids) > 1), None)
        if several and not isinstance(contrast, Range) and contrast.across is None:
            varying = [k for k in runs[several[0]] if len({str(runs[i][k]) for i in several}) > 1]
            rule = f"an arm is one cell of the grid, but its runs of a seed differ in {', '.join(varying)}"
            yield Problem(at, f"{rule} (study {study}{stratum}, tier {tier}); select one value by `where`")
    if (count := len(selection.seeds(contrast, runs))) < SEEDS:
        rule = f"a claim needs runs of at least {SEEDS} seeds in each arm, to know their spread; there is {count}"
        yield Problem(key, f"{rule} (study {study}{stratum}, tier {tier}); add seeds, or leave the claim out")


def _place(contrast: Contrast, name: str) -> Key:
    """Return the key that declares an arm, within its contrast."""
    if isinstance(contrast, Order):
        return "ranks", int(name) - 1
    return (name.partition(", ")[0],) if name else ("where",)


def _no_run(key: Key, where: Arm, study: str, tier: Tier) -> Problem:
    given = where.model_dump(exclude_unset=True, exclude={"pick"})
    rule = f"no run of study {study} in tier {tier} has {given}"
    return Problem(key, f"{rule}; take values from the study's grid")
