"""The runs' confusion matrices as a table, and what figures and published values take from it."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from bnbench.params.study_schema import CLASSES

Counts = list[list[int]]  # images of each true class (rows) that are taken for each class

CONFUSION_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(("run_id", "part"), pa.string()),
    **dict.fromkeys(("true_class", "predicted_class", "images"), pa.int64()),
    "share": pa.float64(),
}


def confusion_table(counted: Mapping[str, Mapping[str, Counts]]) -> pa.Table:
    """A row per run, part, true and predicted class: how many images, and their share of the true class.

    In the order of runs. A pair without images has no row, but for a class and itself: the share there is the
    accuracy of the class. A class without images has no rows.

    Args:
        counted: of each run and part, the counts.
    """
    names = [(run_id, part) for run_id, parts in counted.items() for part in parts]
    found = [_pairs(np.array(counts)) for parts in counted.values() for counts in parts.values()]
    lengths = [len(true) for true, *_ in found]
    own = [np.repeat(np.array(values, dtype=object), lengths) for values in zip(*names, strict=True)]
    numbers = [np.concatenate(columns) for columns in zip(*found, strict=True)]
    schema = pa.schema(list(CONFUSION_TYPES.items()))
    return pa.table([*own, *numbers], schema=schema) if found else schema.empty_table()


def _pairs(counts: "np.ndarray[Any, Any]") -> tuple["np.ndarray[Any, Any]", ...]:
    totals = counts.sum(1)
    true, predicted = np.nonzero((counts > 0) | np.diag(totals > 0))
    images = counts[true, predicted]
    return true, predicted, images, images / totals[true]


def class_rows(confusion: pd.DataFrame) -> pd.DataFrame:
    """The table `confusion` in the form of a probe's rows.

    Quantities: `images` of each true class (item) and predicted one (at), 0 too; `accuracy` of each class (item);
    `mean_accuracy` over the classes.
    """
    return pd.concat([*_quantities(confusion)], ignore_index=True).assign(probe=CLASSES)


def _quantities(confusion: pd.DataFrame) -> Iterator[pd.DataFrame]:
    run = ["run_id", "part"]
    names = {"true_class": "item", "predicted_class": "at"}
    square = confusion.set_index([*run, *names])["images"].unstack(fill_value=0)
    counts = square.melt(value_name="value", ignore_index=False).reset_index()
    known = counts.groupby(run)["true_class"].transform("max")  # data sets may differ in how many classes they have
    yield counts[counts["predicted_class"] <= known].rename(columns=names).assign(quantity="images")
    own = confusion[confusion["true_class"] == confusion["predicted_class"]]
    own = own[[*run, "true_class", "share"]].rename(columns={"true_class": "item", "share": "value"})
    yield own.assign(quantity="accuracy")
    yield own.groupby(run, sort=False)["value"].mean().reset_index().assign(quantity="mean_accuracy")
