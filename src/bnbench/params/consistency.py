"""What the schema cannot see: values that do not go together, in a grid, a run or a figure."""

from collections.abc import Iterator
from math import prod
from typing import Any

from bnbench.core.errors import UserError
from bnbench.core.yaml_reader import Document, Key
from bnbench.params import architecture, grid, norm_rules
from bnbench.params.dataset_schema import Dataset
from bnbench.params.messages import nearest
from bnbench.params.run_schema import Run, Step
from bnbench.params.schema import Params
from bnbench.params.study_schema import Figure, Measure, Published

FIRST_GRADIENTS = 10  # the step that the probe of that name looks at first
# columns of the tables that a figure or a published value may name
MEASURES = (
    *("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "test_loss", "test_accuracy"),
    *("official_loss", "official_accuracy"),
    *("generalisation_gap", "epochs", "best_epoch", "learning_rate"),
)
RANGED = ("learning_rate", "batch_size")  # settings of which a usable range is told
PLACES = ("step", "epoch", "part", "layer", "quantity", "item")  # where a probe's row was taken


def check_grid(where: str, merged: dict[str, Any]) -> None:
    """Check that a study's grid, merged with its tier's, can be unfolded.

    Raises:
        UserError: nothing varies, a setting in two parts, lists of unequal lengths.
    """
    if not grid.axes(merged):
        raise UserError(f"{where}: the grid is empty; name at least one setting with its values, as `seed: [0, 1, 2]`")
    parts = [part for part in ("product", "zip", "around") for _ in merged.get(part) or {}]
    names = [name for part in ("product", "zip", "around") for name in merged.get(part) or {}]
    for name in names:
        if names.count(name) > 1:
            both = " and ".join(part for part, other in zip(parts, names, strict=True) if other == name)
            raise UserError(f"{where}: {name} varies in {both}; keep it in one of them")
    lengths = {key: len(value) for key, value in (merged.get("zip") or {}).items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"{where}: zip joins lists of one length, got {lengths}")


def check_size(document: Document, params: Params, grids: dict[str, dict[str, Any]]) -> None:
    """Check that the grids of all studies, merged with their tier's, are no larger than the file allows.

    Before they are unfolded: a million runs would take minutes and gigabytes to refuse.

    Raises:
        UserError: they are.
    """
    sizes = {name: grid.size(merged) for name, merged in grids.items()}
    total, limit = sum(sizes.values()), params.max_runs
    if total > limit:
        largest = max(sizes, key=lambda name: sizes[name])
        place = document.where(("studies", largest, "grid"))
        rest = "" if len(sizes) == 1 else f", all studies of tier {params.tier} together {total}"
        remedy = f"use fewer values, or allow them by `max_runs: {total}` at the top of the file"
        raise UserError(f"{place}: the grid has {sizes[largest]} runs{rest}; at most {limit} (max_runs); {remedy}")


def check_run(document: Document, params: Params, study: str, run: Run) -> None:
    """Check that a run's values go together.

    Raises:
        UserError: they do not; with the place where the value was set.
    """
    for key, problem in _of_run(params, run):
        place = _set_at(document, params.tier, study, (key, run.model_dump()[key]))
        raise UserError(f"{document.where(place)}: {problem} (study {study}, tier {params.tier})")


def check_figure(document: Document, own: Key, figure: Figure, probes: set[str]) -> None:
    """Check the names that a figure, at the key `own`, uses.

    Args:
        document: the parameter file.
        own: where the figure stands in it.
        figure: the figure.
        probes: what the study's runs record.

    Raises:
        UserError: a name is missing, or is no setting, no column, no probe of the study.
    """
    needed = {"curves": ("y",), "sweep": ("y", "x"), "heatmap": ("y", "x", "against"), "ridges": ("probe",)}
    needed["confusion"] = ("probe",)
    for name in needed.get(figure.kind, ()):
        if getattr(figure, name) is None:
            example = {"y": "test_accuracy", "x": "learning_rate", "against": "batch_size", "probe": "outputs"}[name]
            where = document.where((*own, name))
            raise UserError(f"{where}: a figure of kind {figure.kind} needs {name}, as `{name}: {example}`")
    known = [*Run.model_fields, "network", *(PLACES if figure.probe else ())]
    for name in ("x", "against", "hue", "col", "row"):
        value = getattr(figure, name)
        curve_x = figure.kind == "curves" and name == "x"
        if value is not None and value not in (known if not curve_x else ("epoch", "step")):
            where, near = document.where((*own, name)), nearest(value, known)
            raise UserError(f"{where}: {value!r} is no setting of a run; known are {', '.join(known)}{near}")
    if figure.within is not None and (figure.kind != "sweep" or figure.x not in RANGED):
        where, rule = document.where((*own, "within")), f"within is for sweeps with x: {' or x: '.join(RANGED)}"
        raise UserError(f"{where}: {rule}, not for a {figure.kind} of {figure.x}; leave it out")
    check_measure(document, own, figure, probes)


def check_measure(document: Document, own: Key, measure: Measure, probes: set[str]) -> None:
    """Check what a figure or a published value, at the key `own`, says that it measures.

    Raises:
        UserError: no such column, or a probe that the study's runs do not record.
    """
    if isinstance(measure, Published):
        _check_published(document, own, measure)
    if measure.probe is not None:
        if measure.probe not in probes:
            where, there = document.where((*own, "probe")), ", ".join(sorted(probes)) or "none"
            remedy = f"add it to `probes` of the study's base{nearest(measure.probe, sorted(probes))}"
            raise UserError(f"{where}: the study's runs do not record {measure.probe!r} (recorded: {there}); {remedy}")
        return
    for name in measure.y if isinstance(measure.y, list) else [measure.y]:
        if name is not None and name not in MEASURES:
            where, near = document.where((*own, "y")), nearest(name, list(MEASURES))
            raise UserError(f"{where}: {name!r} is not measured; known are {', '.join(MEASURES)}{near}")


def _check_published(document: Document, own: Key, value: Published) -> None:
    numbers = value.value if isinstance(value.value, list) else [value.value]
    if (value.x is None) != (value.within is None):
        raise UserError(f"{document.where(own)}: a usable range needs both x and within, as in a sweep; add the other")
    if value.x and (len(numbers) != 2 or numbers[0] > numbers[1] or value.by):
        where, rule = document.where((*own, "value")), "a usable range has two ends, the lower one first, and no `by`"
        raise UserError(f"{where}: {rule}, as `value: [5e-6, 5e-2]`; got {value.value}")


def _set_at(document: Document, tier: str, study: str, setting: tuple[str, Any]) -> Key:
    """Where a run's setting got its value: the first of the places, strongest first, that holds it."""
    name, value = setting
    own: Key = ("studies", study)
    grids: list[Key] = [(*own, "tiers", tier, "grid"), (*own, "grid")]
    places = [(*place, part) for place in grids for part in ("product", "zip", "around")]
    places += [
        (*place, "include", i) for place in grids for i in range(len(_at(document.values, (*place, "include")) or []))
    ]
    for place in places:
        values = _at(document.values, (*place, name)) or []
        if value in values:
            return (*place, name, values.index(value))
    bases: list[Key] = [(*own, "tiers", tier, "base"), (*own, "base"), ("tiers", tier, "base")]
    return next(((*base, name) for base in bases if _at(document.values, (*base, name)) == value), ("training", name))


def _at(values: Any, key: Key) -> Any:
    for part in key:
        if isinstance(values, dict):
            values = values.get(part)
        elif isinstance(values, list) and isinstance(part, int):
            values = values[part]
    return values


def _of_run(params: Params, run: Run) -> Iterator[tuple[str, str]]:
    """The settings that are at odds, and why."""
    dataset = params.datasets[run.dataset]
    if dataset.train_images < 1:
        yield "dataset", f"the split of {run.dataset} leaves nothing of {dataset.images} images to train on"
        return
    try:
        model = architecture.check(run.model, dataset.shape, dataset.classes)
    except architecture.NotationError as error:
        yield "model", str(error)
        return
    if run.keep_weights == "best" and dataset.split.valid == "test":
        problem = "best would be chosen by the test images, for they serve for validation too (split.valid: test)"
        yield "keep_weights", f"{problem}; use keep_weights: last"
    images = min(run.train_images or dataset.train_images, dataset.train_images) * times(params, run)
    if run.batch_size > images:
        yield "batch_size", f"a batch of {run.batch_size} is larger than the training set of {images} images"
        return
    yield from norm_rules.problems(run, model, dataset.shape)
    yield from _of_backend(run, model)
    steps = run.steps or images // run.batch_size * run.epochs
    interval = images // run.batch_size if run.evaluate_every == "epoch" else run.evaluate_every
    epochs = -(-steps // (images // run.batch_size))
    if isinstance(run.schedule, Step) and max(run.schedule.from_epoch) > epochs:
        yield "schedule", f"a step from epoch {max(run.schedule.from_epoch)}, but the run has {epochs} epochs"
    if run.preprocessing == "pca":
        yield from (("preprocessing", problem) for problem in _of_pca(model, dataset, images))
    yield from _of_patience(run, -(-steps // interval))
    yield from (("probes", problem) for problem in _of_probes(run, model, steps))


def _of_backend(run: Run, model: architecture.Model) -> Iterator[tuple[str, str]]:
    if run.backend == "numpy" and architecture.convolutional(model):
        rule = "the NumPy backend trains dense nets alone"
        yield "backend", f"{rule}, and {run.model} has conv layers; use backend: torch"
    if run.backend == "numpy" and run.precision == "fast":
        yield "precision", "the NumPy backend computes in fp64 throughout; use precision: exact or backend: torch"


def _of_patience(run: Run, evaluations: int) -> Iterator[tuple[str, str]]:
    if run.patience is not None and run.patience >= evaluations:
        rule = f"a patience of {run.patience} can never stop a run of {evaluations} evaluations"
        yield "patience", f"{rule}; use a smaller one, more epochs, or null"


def _of_pca(model: architecture.Model, dataset: Dataset, images: int) -> Iterator[str]:
    inputs = prod(dataset.shape)
    if not isinstance(model.layers[0], architecture.Dense):
        yield "principal components have no place in an image, as a conv layer needs; use zca or a dense net"
    elif images < inputs:
        yield f"{images} training images have fewer principal components than {inputs} inputs; use more, or zca"


# probe -> hidden layers that it needs
HIDDEN = {"neurons": 2, "percentiles": 1, "activations": 1, "dead_units": 1}


def _of_probes(run: Run, model: architecture.Model, steps: int) -> Iterator[str]:
    """Probes that would find nothing to look at."""
    if run.probes and run.backend == "numpy":
        yield "probes look at PyTorch's kernels; leave them out or use backend: torch"
    hidden = sum(isinstance(layer, architecture.Dense | architecture.Conv) for layer in model.layers) - 1
    for name in run.probes:
        if hidden < HIDDEN.get(name, 0):
            yield f"{name} looks at hidden layer {HIDDEN[name]}, but {run.model} has {hidden}; use a deeper model"
    if "hyperplanes" in run.probes and not isinstance(model.layers[0], architecture.Dense):
        yield f"hyperplanes cut the inputs of a dense first layer, but that of {run.model} is none; leave it out"
    if "gradients" in run.probes and steps < FIRST_GRADIENTS:
        yield f"gradients looks at step {FIRST_GRADIENTS} first, but the run has {steps} steps; use more epochs"


def times(params: Params, run: Run) -> int:
    """How many times as large a run's augmentation makes its training set."""
    found = params.augmentations.get(run.augmentation)
    return found.times if found else 1
