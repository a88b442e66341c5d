"""Rules about combinations of a run's settings: data, model, norm, backend, schedule, early stopping and probes."""

from collections.abc import Iterator
from math import ceil, prod

from bnbench.params import architecture, norm_rules
from bnbench.params.dataset_schema import Dataset
from bnbench.params.run_schema import Run, Step
from bnbench.params.schema import Params

FIRST_GRADIENTS = 10  # first step at which the probe `gradients` measures
# probe -> number of hidden layers it needs
HIDDEN = {"neurons": 2, "percentiles": 1, "activations": 1, "dead_units": 1}


def violations(params: Params, run: Run) -> Iterator[tuple[str, str]]:
    """Yield a setting of a run and the reason why it contradicts the others, for each contradiction."""
    dataset = params.datasets[run.dataset]
    if dataset.train_images < 1:
        yield "dataset", f"the split of {run.dataset} leaves no training images of {dataset.images} images"
        return
    try:
        model = architecture.check(run.model, dataset.shape, dataset.classes)
    except architecture.NotationError as error:
        yield "model", str(error)
        return
    if run.keep_weights == "best" and dataset.split.valid == "test":
        reason = "best would be selected by test accuracy, because the test images are the validation images too"
        yield "keep_weights", f"{reason} (split.valid: test); use keep_weights: last"
    images = min(run.train_images or dataset.train_images, dataset.train_images) * augmented_times(params, run)
    if run.batch_size > images:
        yield "batch_size", f"a batch of {run.batch_size} is larger than the training set of {images} images"
        return
    yield from norm_rules.problems(run, model, dataset.shape)
    yield from _of_backend(run, model)
    yield from _of_preprocessing(run, model, dataset, images)
    steps_per_epoch = images // run.batch_size
    steps = run.steps or steps_per_epoch * run.epochs
    yield from _of_duration(run, steps, steps_per_epoch)
    yield from (("probes", reason) for reason in _of_probes(run, model, steps))


def augmented_times(params: Params, run: Run) -> int:
    """Return the factor by which a run's augmentation enlarges its training set."""
    augmentation = params.augmentations.get(run.augmentation)
    return augmentation.times if augmentation else 1


def _of_backend(run: Run, model: architecture.Model) -> Iterator[tuple[str, str]]:
    if run.backend == "numpy" and architecture.convolutional(model):
        rule = "the NumPy backend trains dense nets alone"
        yield "backend", f"{rule}, and {run.model} has conv layers; use backend: torch"
    if run.backend == "numpy" and run.precision == "fast":
        yield "precision", "the NumPy backend computes in fp64 throughout; use precision: exact or backend: torch"


def _of_duration(run: Run, steps: int, steps_per_epoch: int) -> Iterator[tuple[str, str]]:
    """Check the settings that count in epochs or evaluations against the length of the run."""
    epochs = ceil(steps / steps_per_epoch)
    if isinstance(run.schedule, Step) and max(run.schedule.from_epoch) > epochs:
        yield "schedule", f"a step from epoch {max(run.schedule.from_epoch)}, but the run has {epochs} epochs"
    evaluations = ceil(steps / (steps_per_epoch if run.evaluate_every == "epoch" else run.evaluate_every))
    if run.patience is not None and run.patience >= evaluations:
        rule = f"a patience of {run.patience} can never stop a run of {evaluations} evaluations"
        yield "patience", f"{rule}; use a smaller one, more epochs, or null"


def _of_preprocessing(run: Run, model: architecture.Model, dataset: Dataset, images: int) -> Iterator[tuple[str, str]]:
    if run.preprocessing != "pca":
        return
    inputs = prod(dataset.shape)
    if not isinstance(model.layers[0], architecture.Dense):
        reason = "principal components have no position in an image, as a conv layer needs"
        yield "preprocessing", f"{reason}; use zca or a dense net"
    elif images < inputs:
        reason = f"{images} training images have fewer principal components than {inputs} inputs"
        yield "preprocessing", f"{reason}; use more, or zca"


def _of_probes(run: Run, model: architecture.Model, steps: int) -> Iterator[str]:
    """Yield a reason for each probe that would have nothing to measure."""
    if run.probes and run.backend == "numpy":
        yield "probes read PyTorch tensors; leave them out or use backend: torch"
    hidden = sum(isinstance(layer, architecture.Dense | architecture.Conv) for layer in model.layers) - 1
    for name in run.probes:
        if hidden < HIDDEN.get(name, 0):
            yield f"{name} measures hidden layer {HIDDEN[name]}, but {run.model} has {hidden}; use a deeper model"
    if "hyperplanes" in run.probes and not isinstance(model.layers[0], architecture.Dense):
        yield f"hyperplanes cut the inputs of a dense first layer, but that of {run.model} is none; leave it out"
    if "gradients" in run.probes and steps < FIRST_GRADIENTS:
        yield f"gradients first measures at step {FIRST_GRADIENTS}, but the run has {steps} steps; use more epochs"
