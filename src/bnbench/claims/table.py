"""The table of claims: a row per claim, with its verdict and what it is based on."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bnbench.claims.judge import Evidence, Verdict, every, verdicts
from bnbench.claims.kinds import judged, unit
from bnbench.claims.measured import Tables, Values
from bnbench.claims.statistics import Sample
from bnbench.params.claims import selection
from bnbench.params.claims.schema import Claim, Contrast, Level, Range
from bnbench.params.claims.selection import Features
from bnbench.plan.record import PlanRecord
from bnbench.tables import labels
from bnbench.tables.collect import Gathered
from bnbench.tables.files import arrow

CLAIMS_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(("claim", "work", "study", "kind", "statement", "source", "published", "observed"), pa.string()),
    **dict.fromkeys(("effect", "ci_low", "ci_high"), pa.float64()),
    "unit": pa.string(),
    "n": pa.int64(),
    **dict.fromkeys(("p", "p_permutation", "smallest", "detectable"), pa.float64()),
    "seeds_needed": pa.int64(),
    "test_noise": pa.float64(),
    "runs": pa.int64(),
    "runs_failed": pa.int64(),
    "label": pa.string(),
    "verdict": pa.string(),
    "reason": pa.string(),
}
DIGITS = 10  # logarithms and distributions may differ in their last places from one processor to another
REPLICATION, DEMONSTRATION = "replication", "demonstration"
# a demonstration, on other data or settings than the claim's, reproduces nothing
SHOWN = {"reproduced": "holds", "contradicted": "does not hold", "undecided": "undecided"}


@dataclass(frozen=True)
class Case:
    """A claim with its evidence.

    Attributes:
        claim: its name.
        study: the study that declares it.
        definition: the claim.
        evidence: what the runs say.
        values: what was compared, for each part.
        runs: settings of the runs behind it, by id.
        failed: how many of them failed.
    """

    claim: str
    study: str
    definition: Claim
    evidence: Evidence
    values: list[tuple[Contrast, list[Values]]]
    runs: Mapping[str, Features]
    failed: int


def judge(plan: PlanRecord, gathered: Gathered) -> pa.Table:
    """Return the table `claims` of a plan whose runs have finished; only probes that a claim names are looked at."""
    contrasts = [part for study in plan.studies.values() for claim in study.claims.values() for part in claim.parts]
    named = pa.array({part.probe for part in contrasts if part.probe}, pa.string())
    probes = gathered.probes.filter(pc.is_in(gathered.probes["probe"], named)).to_pandas()
    tables = Tables(gathered.runs, gathered.history, probes, gathered.confusion.to_pandas())
    return arrow(claims_table(plan, tables), CLAIMS_TYPES)


def claims_table(plan: PlanRecord, tables: Tables) -> pd.DataFrame:
    """Return a row per claim of the plan, in the natural order of works and claims.

    Verdicts are corrected for the number of claims of the same work, or of the same study if it repeats none.

    Args:
        plan: the plan.
        tables: the result tables of its runs.
    """
    families: dict[tuple[str, str], list[Case]] = {}
    for case in _cases(plan, tables):
        work = plan.studies[case.study].work
        families.setdefault((work or "", "" if work else case.study), []).append(case)
    rows = [
        _row(case, verdict, work or None)
        for (work, _), cases in families.items()
        for case, verdict in zip(cases, verdicts([case.evidence for case in cases]), strict=True)
    ]
    rows.sort(key=lambda row: (row["work"] is None, row["work"] or "", labels.natural(row["claim"])))
    frame = pd.DataFrame(rows, columns=list(CLAIMS_TYPES))
    numbers = [name for name, kind in CLAIMS_TYPES.items() if kind == pa.float64()]
    return frame.assign(**{name: [_rounded(value) for value in frame[name]] for name in numbers})


def _rounded(value: float) -> float:
    """Return a number with the digits that no processor's mathematical functions change."""
    return float(f"{value:.{DIGITS}g}")


def _cases(plan: PlanRecord, tables: Tables) -> Iterator[Case]:
    features = {run_id: selection.features(run.config) for run_id, run in plan.runs.items()}
    of_study = {name: {run: features[run] for run in study.runs} for name, study in plan.studies.items()}
    for name, study in plan.studies.items():
        for claim, definition in study.claims.items():
            parts = [
                (contrast, *judged(contrast, of_study[contrast.study or name], tables, plan.tier))
                for contrast in definition.parts
            ]
            evidence = every([part[1] for part in parts]) if len(parts) > 1 else parts[0][1]
            used = {run for _, _, found in parts for values in found for run in values.runs}
            failed = sum(tables.failed(run) for run in used)
            values = [(contrast, found) for contrast, _, found in parts]
            yield Case(claim, name, definition, evidence, values, {run: features[run] for run in used}, failed)


def label(claim: Claim, runs: Mapping[str, Features]) -> str:
    """Return whether runs replicate what a claim is about: all have the data and settings that it needs."""
    needs = claim.needs.model_dump(exclude_unset=True)
    same = all(run[name] in allowed for run in runs.values() for name, allowed in needs.items())
    return REPLICATION if same and runs else DEMONSTRATION


def _row(case: Case, verdict: Verdict, work: str | None) -> dict[str, Any]:
    evidence, kind = case.evidence, label(case.definition, case.runs)
    return {
        "claim": case.claim,
        "work": work,
        "study": case.study,
        "kind": case.definition.test.kind,
        "statement": case.definition.statement,
        "source": case.definition.source,
        "published": "; ".join(filter(None, (_published(contrast) for contrast in case.definition.parts))) or None,
        "observed": "; ".join(_observed(contrast, found) for contrast, found in case.values) or None,
        "effect": evidence.effect,
        "ci_low": evidence.low,
        "ci_high": evidence.high,
        "unit": evidence.unit,
        "n": evidence.n,
        "p": verdict.p,
        "p_permutation": evidence.p_permutation,
        "smallest": evidence.smallest,
        "detectable": verdict.detectable,
        "seeds_needed": verdict.seeds,
        "test_noise": evidence.noise,
        "runs": len(case.runs),
        "runs_failed": case.failed,
        "label": kind,
        "verdict": verdict.word if kind == REPLICATION else SHOWN[verdict.word],
        "reason": evidence.reason or None,
    }


def _published(contrast: Contrast) -> str:
    """Return the published values of a contrast's arms as text."""
    numbers = [contrast.value] if isinstance(contrast, Level) else contrast.published
    return " / ".join(_text(contrast, number, log=False) for number in numbers)


def _observed(contrast: Contrast, found: list[Values]) -> str:
    """Return the mean of each arm, for each stratum, as text; `(of n)` where a run is censored or unknown."""
    return ", ".join(
        " / ".join(_mean(contrast, cell.low, cell.high) for cell in values.cells.values()) for values in found
    )


def _mean(contrast: Contrast, low: "np.ndarray[Any, Any]", high: "np.ndarray[Any, Any]") -> str:
    same = np.isfinite(low) & np.isfinite(high)
    if not same.any():
        return labels.DASH
    log = unit(contrast) == "decades" and not (isinstance(contrast, Range) and contrast.end == "width")
    text = _text(contrast, Sample.of(low[same]).mean, log=log)
    return text if same.all() else f"{text} ({same.sum()} of {len(same)} runs)"


def _text(contrast: Contrast, value: float, log: bool) -> str:
    number = 10**value if log else value
    if contrast.reach is None and not isinstance(contrast, Range) and labels.is_accuracy(contrast.y or ""):
        return labels.percent(number, 2)
    if math.isnan(number):
        return labels.DASH
    return labels.number(float(f"{number:.4g}"))
