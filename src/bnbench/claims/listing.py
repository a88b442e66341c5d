"""The table of claims as lines of text."""

import math
from collections import Counter
from collections.abc import Iterator

import pandas as pd

from bnbench.tables import labels


def lines(claims: pd.DataFrame) -> Iterator[str]:
    """Yield the counts of verdicts, then a line per claim: verdict, effect, interval, n, p, and the statement."""
    counts = Counter(zip(claims["label"], claims["verdict"], strict=True))
    yield ", ".join(f"{count} {verdict} ({label})" for (label, verdict), count in counts.items()) or "no claims"
    for row in claims.to_dict("records"):
        more = "" if pd.isna(row["seeds_needed"]) else f"; about {row['seeds_needed']:.0f} seeds would decide"
        effect = _effect(row["effect"], row["ci_low"], row["ci_high"])
        yield f"{row['claim']}: {row['verdict']}: {row['statement']}"
        unit = labels.column(row["unit"]).lower()
        yield f"    {effect} {unit}, n {row['n']}, p {row['p']:.2g} after correction{more}"
        if not pd.isna(row["reason"]):
            yield f"    {row['reason']}"


def _effect(mean: float, low: float, high: float) -> str:
    text = labels.DASH if math.isnan(mean) else f"{mean:+.3g}"
    return text if math.isnan(low) else f"{text} ({low:+.3g} to {high:+.3g})"
