"""The table of confusion matrices, and its form as probe rows for figures and published values."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from bnbench.arithmetic import exact
from bnbench.params.fields import CLASSES

Counts = list[list[int]]  # images by true class (rows) and predicted class (columns)

CONFUSION_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(("run_id", "part"), pa.string()),
    **dict.fromkeys(("true_class", "predicted_class", "images"), pa.int64()),
    "share": pa.float64(),
}


def confusion_table(counted: Mapping[str, Mapping[str, Counts]]) -> pa.Table:
    """Return a row per run, part, true and predicted class: the number of images, and their share of the true class.

    Rows are in the order of runs. A pair of different classes without images has no row. A pair of a class with
    itself has one, for its share is the accuracy of the class. A class without images has no rows.

    Args:
        counted: the matrix of counts of each run and part.
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
    """Return the table `confusion` as rows of a probe.

    Its quantities are `images` of each true class (`item`) and predicted class (`at`), zeros included; `accuracy` of
    each class (`item`); and `mean_accuracy` over the classes.
    """
    return pd.concat([*_quantities(confusion)], ignore_index=True).assign(probe=CLASSES)


def _quantities(confusion: pd.DataFrame) -> Iterator[pd.DataFrame]:
    run = ["run_id", "part"]
    names = {"true_class": "item", "predicted_class": "at"}
    square = confusion.set_index([*run, *names])["images"].unstack(fill_value=0)
    counts = square.melt(value_name="value", ignore_index=False).reset_index()
    known = counts.groupby(run)["true_class"].transform("max")  # data sets may differ in their number of classes
    yield counts[counts["predicted_class"] <= known].rename(columns=names).assign(quantity="images")
    own = confusion[confusion["true_class"] == confusion["predicted_class"]]
    own = own[[*run, "true_class", "share"]].rename(columns={"true_class": "item", "share": "value"})
    yield own.assign(quantity="accuracy")
    means = own.groupby(run, sort=False)["value"].agg(lambda shares: exact.mean(shares.tolist()))
    yield means.reset_index().assign(quantity="mean_accuracy")
