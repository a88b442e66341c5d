"""Selection of rows of the table `probes`."""

from typing import Any

import pandas as pd

from bnbench.params.fields import CLASSES


def picked(rows: pd.DataFrame, probe: str, pick: dict[str, Any]) -> pd.DataFrame:
    """Return the rows of a probe that have the given values of `pick`; the confusion matrix is that of the test part.

    A step `last` is the last one of each run; a list names alternatives.
    """
    if probe == CLASSES:
        pick = {"part": "test"} | pick
    rows = rows[rows["probe"] == probe]
    for name, value in pick.items():
        if value == "last":
            rows = rows[rows[name] == rows.groupby("run_id")[name].transform("max")]
        else:
            rows = rows[rows[name].isin(value if isinstance(value, list) else [value])]
    return rows
