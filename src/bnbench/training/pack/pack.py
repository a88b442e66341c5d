"""A pack: runs of one shape, trained side by side, and their state between two training steps.

The state is in `Pack.arrays` (the run is the first axis of each), `Pack.history` and `Pack.probed`, so that a run can
be removed from its pack, or saved and resumed in another one, as a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from bnbench.data import augment
from bnbench.data.random_streams import order
from bnbench.params.dataset_schema import Augmentation
from bnbench.params.run_schema import Run
from bnbench.training.nets.network import Network

Row = dict[str, float | None]
# a measurement of a probe: probe, step, epoch, part, layer, quantity, item, at, value
Probed = Sequence[Any]

# values that a layer's output may have per run in one evaluated chunk of images: 2 M are 8 MB
CHUNK = 2**21


@dataclass(frozen=True)
class Images:
    """A split of a data set: images x_NHWC in fp32, labels (N,), one-hot targets (N, classes)."""

    x: Tensor
    labels: Tensor
    target: Tensor


@dataclass
class Pack:
    """Runs in training.

    Attributes:
        names: run ids, in the order of the rows of every array.
        runs: their settings.
        run: the settings of one of them: all have the same but for seed and learning rate.
        network: their networks.
        data: splits by name; `fed` is the training split with its augmented copies.
        fingerprint: of the data.
        arrays: weights, statistics, gradients, optimizer and schedule state, losses: (runs, ...) each.
        step: training steps taken.
        history: rows of each run, one per evaluation.
        probed: measurements of each run.
        orders: of this epoch, each seed's order of the training images, (seeds, N).
        rows: of each run the index of its seed, (runs,).
        online: the augmentation, if it is resampled every epoch.
        transforms: of this epoch, each seed's augmentation of every training image, (seeds, N, coefficients).
    """

    names: list[str]
    runs: list[Run]
    run: Run
    network: Network
    data: dict[str, Images]
    fingerprint: str
    arrays: dict[str, Tensor]
    step: int = 0
    history: list[list[Row]] = field(default_factory=list)
    probed: list[list[Probed]] = field(default_factory=list)
    orders: Tensor | None = None
    rows: Tensor | None = None
    online: Augmentation | None = None
    transforms: Tensor | None = None

    @property
    def seeds(self) -> list[int]:
        """Each run's seed."""
        return [run.seed for run in self.runs]

    @property
    def epoch_steps(self) -> int:
        """Steps of an epoch; the images of an incomplete last mini-batch are left out."""
        return len(self.data["fed"].x) // self.run.batch_size

    @property
    def steps(self) -> int:
        """Steps of the complete training."""
        return self.run.steps or self.epoch_steps * self.run.epochs

    @property
    def interval(self) -> int:
        """Steps between two rows of history."""
        return self.epoch_steps if self.run.evaluate_every == "epoch" else self.run.evaluate_every

    @property
    def chunk(self) -> int:
        """Images that are evaluated at a time."""
        return max(1, CHUNK // self.network.widest)

    @property
    def rate(self) -> Tensor:
        """Each run's present learning rate, (runs, 1)."""
        return (self.arrays["rate"] * self.arrays["factor"]).float()[:, None]

    @property
    def kept(self) -> tuple[Tensor, Tensor]:
        """Weights and statistics to be tested, by `keep_weights`: the last, or the best so far; (runs, row) each."""
        of = "best_" if "best_values" in self.arrays else ""
        return self.arrays[f"{of}values"], self.arrays[f"{of}moving"]

    @property
    def kept_steps(self) -> list[int]:
        """Step of each run after which it had the weights to be tested."""
        if "best_step" in self.arrays:
            return [int(step) for step in self.arrays["best_step"]]
        return [self.step] * len(self.names)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the mini-batch of a step: images x_RNHWC and one-hot targets (R, N, classes).

        Args:
            step: counted from 0, of the present epoch.
        """
        index = self.drawn(step)
        return self.images(index, self.transforms_of(index))

    def images(self, index: Tensor, transforms: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the mini-batch of these training images, (seeds, N), with these augmentations, as `batch`."""
        fed = self.data["fed"]
        x = _gather(fed.x, index)
        if transforms is not None:
            x = augment.transform(x.flatten(0, 1), transforms.flatten(0, 1)).view_as(x)
        return self._each(x), self._each(_gather(fed.target, index))

    def drawn(self, step: int, steps: int = 1) -> Tensor:
        """Return the indices of the training images of `steps` steps of one epoch from `step` on, (seeds, images)."""
        first, size = step % self.epoch_steps, self.run.batch_size
        if first == 0 or self.orders is None:
            self._draw(step // self.epoch_steps)
        assert self.orders is not None
        return self.orders[:, first * size : (first + steps) * size]

    def transforms_of(self, index: Tensor) -> Tensor | None:
        """Return the augmentation in this epoch of these images, (seeds, images); None without one."""
        if self.transforms is None:
            return None
        return self.transforms.gather(1, index[..., None].expand(*index.shape, augment.COEFFICIENTS))

    def _each(self, array: Tensor) -> Tensor:
        """Return for each run the row of its seed, (R, ...); a view where all runs have one seed."""
        if len(array) == 1:
            return array.expand(len(self.runs), *array.shape[1:])
        assert self.rows is not None
        return array.index_select(0, self.rows)

    def _draw(self, epoch: int) -> None:
        """Draw each seed's order of an epoch's images, and their augmentation."""
        x, seeds = self.data["fed"].x, sorted(set(self.seeds))
        self.orders = torch.stack([order(seed, epoch, len(x)) for seed in seeds]).to(x.device)
        if self.rows is None:  # and else unchanged: a CUDA graph reads this array
            self.rows = torch.tensor([seeds.index(seed) for seed in self.seeds], device=x.device)
        if self.online:
            drawn = [augment.online(seed, self.online, epoch, x.movedim(-1, 1).shape) for seed in seeds]
            self.transforms = torch.stack(drawn).to(x.device)

    def part(self, rows: list[int]) -> "Pack":
        """Return a pack of these runs alone."""
        index = torch.tensor(rows, dtype=torch.long, device=self.arrays["values"].device)
        return replace(
            self,
            names=[self.names[i] for i in rows],
            runs=[self.runs[i] for i in rows],
            history=[self.history[i] for i in rows],
            probed=[self.probed[i] for i in rows],
            arrays={name: array[index] for name, array in self.arrays.items()},
            orders=None,
            rows=None,
            transforms=None,
        )

    def keep(self, rows: list[int]) -> None:
        """Remove all other runs."""
        rest = self.part(rows)
        self.names, self.runs, self.history, self.probed = rest.names, rest.runs, rest.history, rest.probed
        self.arrays, self.orders, self.rows, self.transforms = rest.arrays, None, None, None
        self.bind()

    def release(self) -> None:
        """Free the arrays and the data, in a GPU's memory too."""
        self.arrays, self.data, self.orders, self.transforms = {}, {}, None, None
        for layer in self.network.layers:
            layer.__dict__.clear()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def bind(self) -> None:
        """Give the present arrays to the network."""
        self.network.bind(self.arrays["values"], self.arrays["moving"], self.arrays["grads"])


def _gather(rows: Tensor, index: Tensor) -> Tensor:
    return rows.index_select(0, index.flatten()).view(*index.shape, *rows.shape[1:])


@dataclass(frozen=True)
class Outcome:
    """Results of a finished run.

    Attributes:
        name: run id.
        run: its settings.
        result: status, counts, losses and accuracies.
        history: a row per evaluation.
        probed: measurements of its probes.
        weights: its weights and statistics by layer and name, if they are saved.
    """

    name: str
    run: Run
    result: dict[str, Any]
    history: list[Row]
    probed: list[Probed] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
