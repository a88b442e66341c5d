"""Display names of columns ("Learning rate"), values ("batch of 16", "no norm") and numbers ("10,000")."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from bnbench.params.architecture import Conv, NotationError, parse
from bnbench.params.fields import NO_AUGMENTATION
from bnbench.params.layers.activations import ACTIVATIONS
from bnbench.params.layers.norms import NORMS
from bnbench.params.run_schema import Run
from bnbench.tables.column_names import COLUMNS

DASH = "\N{EN DASH}"  # stands for a missing value

VALUES: dict[str, dict[str, str]] = {
    "norm": {name: spec.label for name, spec in NORMS.items()},
    "population": {
        "moving": "moving averages",
        "last_epoch": "means over the last epoch",
        "batch": "those of the evaluated mini-batch",
    },
    "backend": {"torch": "PyTorch", "numpy": "NumPy reference"},
    "order": {"pre": "before the activation", "post": "after the activation"},
    "activation": {name: spec.label for name, spec in ACTIVATIONS.items()},
    "optimizer": {"sgd": "SGD", "adam": "Adam"},
    "preprocessing": {
        "raw": "pixels 0 to 255",
        "unit": "pixels 0 to 1",
        "center": "centred pixels",
        "zscore": "mean 0, standard deviation 1",
        "standard": "standardised pixels",
        "pca": "PCA-whitened",
        "zca": "ZCA-whitened",
    },
    "init": {"he": "He", "glorot": "Glorot", "normal": "Gaussian"},
    "keep_weights": {"last": "the last", "best": "best by validation accuracy"},
    "precision": {"exact": "single (fp32)", "fast": "products in half (bf16)"},
    "schedule": {"constant": "constant"},
    "network": {"dense": "dense net", "conv": "conv net"},
    "part": {"train": "training images", "valid": "validation images", "test": "test images"},
    "quantity": {
        "accuracy_batch": "statistics of these images",
        "accuracy_population": "population statistics",
        "accuracy_moving": "moving averages",
        "accuracy_gathered": "gathered after training",
    },
}
# format of a value that stands alone, as in a legend
PHRASES = {
    "batch_size": "batch of {}",
    "train_images": "{} training images",
    "epochs": "{} epochs",
    "max_epochs": "{} epochs",
    "max_steps": "{} steps",
    "evaluate_every": "evaluated every {}",
    "loss": "{} loss over a batch",
    "init": "{} weights",
    "order": "norm {}",
    "norm_gamma": "gamma {}",
    "norm_beta": "beta {}",
    "population": "statistics: {}",
    "backend": "{}",
    "keep_weights": "{} weights",
    "schedule": "{} rate",
}


def is_accuracy(column: str) -> bool:
    """Return whether a column is a share of correct predictions, shown in percent."""
    return column.lower().endswith("accuracy")


def column(name: str) -> str:
    """Return a column's display name; an unknown column's from its key: `some_key` gives "Some key"."""
    return COLUMNS.get(name, sentence(name.replace("_", " ")))


def quantity(y: str | list[str] | None, probe: str | None = None) -> str:
    """Return the column name of a figure's values; of several columns the part that they have in common."""
    names = [y] if isinstance(y, str) else y or [probe or "test_accuracy"]
    return names[0] if len(names) == 1 else sentence(names[0].partition("_")[2])


def sentence(text: str) -> str:
    """Return `text` with a capital first letter, the rest unchanged."""
    return text[:1].upper() + text[1:]


def number(value: float) -> str:
    """Return a number as text: 10,000, 0.001, 1e-8."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    mantissa, _, exponent = f"{value:.6g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def short(name: str, value: Any) -> str:
    """Return a value as text where its column's name is near: on an axis, in a table."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "all" if name == "train_images" else DASH
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if not isinstance(value, str):
        return number(value)
    if name == "augmentation":
        return "no augmentation" if value == NO_AUGMENTATION else f"{value} augmentation"
    if name == "evaluate_every":
        return value if value == "epoch" else f"{value} steps"
    return VALUES.get(name, {}).get(value, value)


def phrase(name: str, value: Any) -> str:
    """Return a value as text that stands alone, as in a legend: "batch of 16", "conv net 8C3-10D", "seed 3"."""
    text = short(name, value)
    if name == "model":
        return f"{architecture(text)} {text}"
    if isinstance(value, bool | np.bool_):
        return f"{column(name)[:1].lower()}{column(name)[1:]}: {text}"
    if name in PHRASES:
        return PHRASES[name].format(text)
    return text if isinstance(value, str) else f"{column(name)[:1].lower()}{column(name)[1:]} {text}"


def architecture(model: str) -> str:
    """Return the kind of network that a model's shorthand stands for."""
    try:
        layers = parse(model).layers
    except NotationError:
        return "net"
    return "conv net" if any(isinstance(layer, Conv) for layer in layers) else "dense net"


def _ranks() -> dict[str, dict[str, int]]:
    fields = Run.model_json_schema()["properties"]
    ranks = {name: {value: i for i, value in enumerate(field.get("enum", []))} for name, field in fields.items()}
    return ranks | {"augmentation": {NO_AUGMENTATION: 0}}


RANKS = _ranks()


def ordered(name: str, values: Iterable[Any]) -> list[Any]:
    """Return the distinct values in the schema's order, numbers by size, missing values last."""
    ranks = RANKS.get(name, {})

    def key(value: Any) -> tuple[int, float, str]:
        if isinstance(value, str):
            return 1, ranks.get(value, len(ranks)), value
        return (2, 0.0, "") if pd.isna(value) else (0, float(value), "")

    distinct = {(None if pd.isna(value) else value): value for value in values}
    return sorted(distinct.values(), key=key)


def natural(name: str) -> tuple[tuple[bool, int, str], ...]:
    """Return a key for the natural order of names: C3 before C10."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts)


def titled(frame: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """Return `frame` with the data sets' titles in place of their keys, if it has a column `dataset`."""
    if "dataset" not in frame:
        return frame
    return frame.assign(dataset=[titles.get(key, key) for key in frame["dataset"]])


def percent(value: float, digits: int = 1) -> str:
    """Return a share in percent as text; a dash for a missing one."""
    return DASH if pd.isna(value) else f"{100 * value:.{digits}f} %"


def metric(name: str, value: float) -> str:
    """Return a mean of the column `name` as text: an accuracy in percent, a loss with three digits."""
    if is_accuracy(name):
        return percent(value)
    return DASH if pd.isna(value) else f"{value:.3g}"


def figure_place(study: str, figure: str) -> str:
    """Return the path of a figure's files in the folder of figures, without suffix; unique, for names have no `/`."""
    return f"{study}/{figure}"


def contact_sheet(dataset: str, augmentation: str) -> str:
    """Return the path of an augmentation's contact sheet likewise; no study's folder has a dot in its name."""
    return figure_place(f"augmentation.{dataset}", augmentation)


def data_used(used: Iterable[str], planned: list[str], titles: Mapping[str, str]) -> str:
    """Return the titles of the data sets used, with those that they replace in this tier.

    Args:
        used: the data sets of the runs.
        planned: the data sets of the study in the tier `full`.
        titles: title of each data set by its key.
    """
    shown = sorted(set(used))
    text = joined([titles.get(name, name) for name in shown])
    others = joined([titles.get(name, name) for name in planned])
    return text if set(shown) <= set(planned) else f"{text}, in place of {others}"


def joined(parts: list[str]) -> str:
    """Return a list as part of a sentence: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
