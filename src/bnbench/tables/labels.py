"""Human names: of columns ("Learning rate"), of values ("batch of 16", "no norm"), of numbers ("10,000")."""

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

DASH = "\N{EN DASH}"  # stands for a value that is missing

COLUMNS = {
    "study": "Study",
    "work": "Work",
    "dataset": "Data set",
    "train_images": "Training images",
    "augmentation": "Augmentation",
    "preprocessing": "Preprocessing",
    "model": "Model",
    "norm": "Norm",
    "order": "Place of the norm",
    "norm_dense": "Norm in a conv net's dense layers",
    "norm_gamma": "Norm's scale (gamma)",
    "norm_beta": "Norm's shift (beta)",
    "norm_epsilon": "Norm's epsilon",
    "norm_keep": "Norm's keep",
    "population": "Statistics outside training",
    "norm_groups": "Groups of channels (group norm)",
    "norm_parts": "Parts of a batch (ghost batch norm)",
    "renorm_rmax": "Largest r (batch renorm)",
    "renorm_dmax": "Largest d (batch renorm)",
    "renorm_rmax_ramp": "Epochs in which the largest r rises",
    "renorm_dmax_ramp": "Epochs in which the largest d rises",
    "lrn_size": "Channels seen (local response)",
    "lrn_alpha": "Alpha (local response)",
    "lrn_beta": "Beta (local response)",
    "lrn_k": "k (local response)",
    "span": "Examples a statistic saw",
    "activation": "Activation",
    "slope": "Slope below zero",
    "init": "Initial weights",
    "init_deviation": "Initial deviation",
    "dropout": "Dropout",
    "loss": "Loss over a batch",
    "optimizer": "Optimiser",
    "learning_rate": "Learning rate",
    "momentum": "Momentum",
    "beta1": "Adam's beta 1",
    "beta2": "Adam's beta 2",
    "adam_epsilon": "Adam's epsilon",
    "weight_decay": "Weight decay",
    "schedule": "Learning-rate schedule",
    "batch_size": "Batch size",
    "epochs": "Epochs",
    "max_epochs": "Epochs",
    "max_steps": "Steps at most",
    "network": "Network",
    "steps": "Steps",
    "layer": "Layer",
    "images_together": "Images predicted together",
    "evaluate_every": "Evaluated every",
    "evaluate_test": "Test set measured during training",
    "keep_weights": "Weights tested",
    "save_weights": "Weights saved",
    "patience": "Stopped after evaluations without a rise",
    "probes": "Probes",
    "diverged_above": "Given up at (times the loss of chance)",
    "precision": "Precision",
    "backend": "Backend",
    "seed": "Seed",
    "epoch": "Epoch",
    "step": "Step",
    "train_loss": "Training loss",
    "train_accuracy": "Training accuracy",
    "valid_loss": "Validation loss",
    "valid_accuracy": "Validation accuracy",
    "test_loss": "Test loss",
    "test_accuracy": "Test accuracy",
    "official_loss": "Loss on the published test set",
    "official_accuracy": "Accuracy on the published test set",
    "generalisation_gap": "Training minus test accuracy",
    "true_class": "True class",
    "predicted_class": "Predicted class",
    "n": "Seeds",
    "n_diverged": "Diverged",
    "n_other": "Failed",
}
VALUES: dict[str, dict[str, str]] = {
    "norm": {name: spec.label for name, spec in NORMS.items()},
    "population": {
        "moving": "moving averages",
        "last_epoch": "means over the last epoch",
        "batch": "the evaluated batch's own",
    },
    "backend": {"torch": "PyTorch", "numpy": "NumPy, by hand"},
    "order": {"pre": "before the activation", "post": "after the activation"},
    "activation": {name: spec.label for name, spec in ACTIVATIONS.items()},
    "optimizer": {"sgd": "SGD", "adam": "Adam"},
    "preprocessing": {
        "raw": "pixels 0 to 255",
        "unit": "pixels 0 to 1",
        "center": "centred pixels",
        "zscore": "mean 0, deviation 1",
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
# what a number says when it stands alone, as in a legend
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
    """Whether the column is a share of right answers, shown in percent."""
    return column.lower().endswith("accuracy")


def column(name: str) -> str:
    """A column's name for people; one that is not known, with spaces: `norm_keep` as "Norm keep"."""
    return COLUMNS.get(name, sentence(name.replace("_", " ")))


def quantity(y: str | list[str] | None, probe: str | None = None) -> str:
    """What a figure's values are, as a column's name: of several parts of the data what they have in common."""
    names = [y] if isinstance(y, str) else y or [probe or "test_accuracy"]
    return names[0] if len(names) == 1 else sentence(names[0].partition("_")[2])


def sentence(text: str) -> str:
    """`text` with a capital first letter, the rest as it is."""
    return text[:1].upper() + text[1:]


def number(value: float) -> str:
    """A number as people write it: 10,000, 0.001, 1e-8."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    mantissa, _, exponent = f"{value:.6g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def short(name: str, value: Any) -> str:
    """A value where its column's name stands nearby: on an axis, in a table."""
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
    """A value standing alone, in a legend or above a panel: "batch of 16", "conv net 8C3-10D", "seed 3"."""
    text = short(name, value)
    if name == "model":
        return f"{architecture(text)} {text}"
    if isinstance(value, bool | np.bool_):
        return f"{column(name)[:1].lower()}{column(name)[1:]}: {text}"
    if name in PHRASES:
        return PHRASES[name].format(text)
    return text if isinstance(value, str) else f"{column(name)[:1].lower()}{column(name)[1:]} {text}"


def architecture(model: str) -> str:
    """Which kind of net a model's shorthand stands for."""
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
    """The distinct values in the order that people expect: the schema's, or by size; missing last."""
    ranks = RANKS.get(name, {})

    def key(value: Any) -> tuple[int, float, str]:
        if isinstance(value, str):
            return 1, ranks.get(value, len(ranks)), value
        return (2, 0.0, "") if pd.isna(value) else (0, float(value), "")

    distinct = {(None if pd.isna(value) else value): value for value in values}
    return sorted(distinct.values(), key=key)


def natural(name: str) -> tuple[tuple[bool, int, str], ...]:
    """A key that sorts names as people do: C3 before C10."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts)


def titled(frame: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """`frame` with the data sets' titles in place of their keys, if it tells data sets apart."""
    if "dataset" not in frame:
        return frame
    return frame.assign(dataset=[titles.get(key, key) for key in frame["dataset"]])


def percent(value: float, digits: int = 1) -> str:
    """A share in percent, or a dash where there is none."""
    return DASH if pd.isna(value) else f"{100 * value:.{digits}f} %"


def metric(name: str, value: float) -> str:
    """A mean of the column `name`: accuracy in percent, loss with three digits."""
    if is_accuracy(name):
        return percent(value)
    return DASH if pd.isna(value) else f"{value:.3g}"


def figure_place(study: str, figure: str) -> str:
    """Where a figure's files lie under the folder of figures, without suffix: names have no `/`, so none are mixed."""
    return f"{study}/{figure}"


def contact_sheet(dataset: str, augmentation: str) -> str:
    """Where an augmentation's contact sheet lies likewise: no study has a dot in its name, so in none's folder."""
    return figure_place(f"augmentation.{dataset}", augmentation)


def data_used(used: Iterable[str], asked: list[str], titles: Mapping[str, str]) -> str:
    """The titles of the data sets used, and of those that a study is about where a tier takes others."""
    shown = sorted(set(used))
    text = joined([titles.get(name, name) for name in shown])
    others = joined([titles.get(name, name) for name in asked])
    return text if set(shown) <= set(asked) else f"{text}, in place of {others}"


def joined(parts: list[str]) -> str:
    """Parts of a list in a sentence: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
