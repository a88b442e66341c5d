"""Trained runs that kept their weights: which of them to show side by side, and what each says of one image."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bnbench.core.errors import DataError, UserError
from bnbench.core.files import canonical
from bnbench.data.prepared import Images, Labels, Prepared
from bnbench.data.preprocess import PREPROCESSING, Prepare
from bnbench.params.config import options
from bnbench.params.run_schema import Run
from bnbench.plan.plan import Plan
from bnbench.store import run_record
from bnbench.tables import labels
from bnbench.training.nets.batch_norms import PerChannel, Population
from bnbench.training.nets.network import Network
from bnbench.training.run_writer import WEIGHTS, read_network


@dataclass(frozen=True)
class View:
    """One run, seen with one choice of statistics; `about` says what becomes of images that it sees one by one."""

    run_id: str
    run: Run
    network: Network
    prepare: Prepare
    statistics: Population
    classes: int

    @property
    def title(self) -> str:
        """Its norm, and whose statistics that uses where there is a choice."""
        norm = labels.sentence(labels.short("norm", self.run.norm))
        if not _of_a_batch(self.network):
            return norm
        own = self.statistics == "batch"
        return f"{norm}, {'statistics of this one image' if own else labels.short('population', self.statistics)}"

    def chances(self, image: Images) -> NDArray[np.float32]:
        """Each class's probability for one image of pixels 0..255, (C, H, W)."""
        x_1HWC = self.prepare(torch.from_numpy(image.copy()).movedim(0, -1)[None])
        logits = self.network.forward(x_1HWC[None], statistics=self.statistics)
        chances: NDArray[np.float32] = torch.softmax(logits[0, 0], -1).numpy()
        return chances

    def alone(self, images: Images, truth: Labels) -> str:
        """What it answers to these images, each seen alone: how many right, and whether it ever changes its mind."""
        answers = np.array([self.chances(image).argmax() for image in images])
        right = f"{(answers == truth).sum()} of {len(truth)} test images right, seen one by one"
        return f"Always says {answers[0]}: {right}" if len(set(answers)) == 1 else right


def views(store: Path, run_ids: Sequence[str], data: Prepared) -> list[View]:
    """A view of each run, and where its norm is over a batch a second one: with the one image's own statistics.

    Raises:
        UserError: a run has no weights, or they are damaged.
    """
    made = []
    for run_id in run_ids:
        run, network = read_network(store, run_id, data.shape)
        pixels = torch.from_numpy(data.train.images[: run.train_images]).movedim(1, -1)
        prepare = PREPROCESSING[run.preprocessing](pixels)
        kinds = dict.fromkeys([run.population, "batch"] if _of_a_batch(network) else [run.population])
        made += [View(run_id, run, network, prepare, statistics, data.classes) for statistics in kinds]
    return made


def _of_a_batch(network: Network) -> bool:
    return any(isinstance(layer, PerChannel) for layer in network.layers)


def data_of(plan: Plan, run_ids: Sequence[str]) -> Prepared:
    """The prepared data that these runs were trained on.

    Raises:
        UserError: a run is not in the store, or they were trained on different data.
        DataError: the data are not there any more.
    """
    first, *others = dict.fromkeys(_dataset(plan, run_id) for run_id in run_ids)
    if others:
        raise UserError(f"the runs were trained on {first} and {others[0]}; name runs of the same data")
    folder = plan.project.prepared_of(first, plan.keys[first])
    if not folder.is_dir():
        again = f"`snakemake data {options(plan.params, plan.resolved.tier)}` prepares them and trains nothing"
        raise DataError(f"{folder}: no such folder, so the images that the runs were trained on are missing; {again}")
    return Prepared.read(folder)


def _dataset(plan: Plan, run_id: str) -> str:
    path = plan.store / run_id / "run.json"
    if not path.exists():
        raise UserError(f"{path}: no such file, so there is no run {run_id!r}; {remedy(plan)}")
    name = str(run_record.load(path.parent).record["config"].get("dataset"))
    if name not in plan.keys:
        raise UserError(f"{path}: trained on {name!r}, which is not under datasets in {plan.params}; write it there")
    return name


def choose(plan: Plan, shapes: Sequence[tuple[int, ...]]) -> list[str]:
    """Runs of the plan to show: without a norm and with batch norm, all else equal; or else the best one.

    Of several pairs that whose weaker run has the highest test accuracy.

    Args:
        plan: the plan.
        shapes: images (C, H, W) that can be shown.

    Raises:
        UserError: no run has weights; how to train one.
    """
    datasets = plan.resolved.datasets
    at_hand = {
        name: run
        for name, run in plan.runs.items()
        if (plan.store / name / WEIGHTS).is_file() and tuple(datasets[run.dataset].shape) in shapes
    }
    if not at_hand:
        raise UserError(f"{plan.store} has no run with weights to show; {remedy(plan)}")
    accuracy = {name: run_record.outcome(run_record.load(plan.store / name)).test_accuracy or 0.0 for name in at_hand}
    alike: dict[bytes, dict[str, str]] = defaultdict(dict)
    for name, run in at_hand.items():
        alike[canonical(run.model_dump(exclude={"norm"}))][run.norm] = name
    pairs = [[norms["none"], norms["batch"]] for norms in alike.values() if norms.keys() >= {"none", "batch"}]
    return max(pairs or [[name] for name in at_hand], key=lambda names: min(accuracy[name] for name in names))


def remedy(plan: Plan) -> str:
    """The command that trains runs with weights, or what to write so that there is one."""
    keeping = [name for name, ids in plan.studies.items() if any(plan.runs[one].save_weights for one in ids)]
    command = f"`snakemake {options(plan.params, plan.resolved.tier)}`"
    if keeping:
        return f"{command} trains those of {', '.join(keeping)}"
    study = next(iter(plan.studies))
    return f"write `save_weights: true` into studies.{study}.base of {plan.params}, then {command} trains some"
