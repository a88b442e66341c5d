"""A pack: runs of one shape in training, side by side, and what it holds between two steps.

Everything a pack knows is in `Pack.arrays` (the run is the first axis of each), `Pack.history` and `Pack.probed`,
so that a run can leave its pack, or be saved and go on elsewhere, as a row.
"""

from collections.abc import Callable, Sequence
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
# what a probe saw: probe, step, epoch, part, layer, quantity, item, at, value
Probed = Sequence[Any]

# values a network may have in a layer's output per evaluated chunk and run: 2 M are 8 MB
CHUNK = 2**21


@dataclass(frozen=True)
class Images:
    """A part of a data set as a pack reads it: x_NHWC fp32, labels (N,), target (N, classes) one-hot."""

    x: Tensor
    labels: Tensor
    target: Tensor


@dataclass
class Pack:
    """Runs in training: their ids and settings, row by row. `run` stands for what they share: all settings but two."""

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
    orders: Tensor | None = None  # of this epoch: the images of each seed in turn
    rows: Tensor | None = None  # whose order each run follows
    online: Augmentation | None = None
    moves: Tensor | None = None  # of this epoch: how each seed's images are moved, if epochs differ
    recorded: object = None  # its step as a graph: graphs.Recorded
    stepper: "Callable[[Pack], None] | None" = None  # what trains these arrays
    forward: "Callable[[Pack, Tensor], Tensor] | None" = None  # what makes logits of images outside training

    @property
    def seeds(self) -> list[int]:
        """Each run's seed."""
        return [run.seed for run in self.runs]

    @property
    def epoch_steps(self) -> int:
        """Steps of an epoch; images that fill no batch are left out."""
        return len(self.data["fed"].x) // self.run.batch_size

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.run.steps or self.epoch_steps * self.run.epochs

    @property
    def interval(self) -> int:
        """Steps between two rows of history."""
        return self.epoch_steps if self.run.evaluate_every == "epoch" else self.run.evaluate_every

    @property
    def chunk(self) -> int:
        """How many images are evaluated at a time."""
        return max(1, CHUNK // self.network.widest)

    @property
    def rate(self) -> Tensor:
        """Each run's learning rate now, (runs, 1)."""
        return (self.arrays["rate"] * self.arrays["factor"]).float()[:, None]

    @property
    def kept(self) -> tuple[Tensor, Tensor]:
        """Weights and moving statistics that are tested: the last, or the best so far."""
        of = "best_" if "best_values" in self.arrays else ""
        return self.arrays[f"{of}values"], self.arrays[f"{of}moving"]

    @property
    def kept_steps(self) -> list[int]:
        """The step that each run's kept weights are of."""
        if "best_step" in self.arrays:
            return [int(step) for step in self.arrays["best_step"]]
        return [self.step] * len(self.names)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """What the runs see at a step (from 0) of the present epoch: x_RNHWC and the target (R, N, classes)."""
        index = self.drawn(step)
        return self.images(index, self.moved(index))

    def images(self, index: Tensor, moves: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the runs see where these images are drawn, moved so: `batch`."""
        fed = self.data["fed"]
        x = _gather(fed.x, index)
        if moves is not None:
            x = augment.transform(x.flatten(0, 1), moves.flatten(0, 1)).view_as(x)
        return self._each(x), self._each(_gather(fed.target, index))

    def drawn(self, step: int, steps: int = 1) -> Tensor:
        """The images that steps of one epoch from `step` on see, (seeds, images)."""
        place, size = step % self.epoch_steps, self.run.batch_size
        if place == 0 or self.orders is None:
            self._draw(step // self.epoch_steps)
        assert self.orders is not None
        return self.orders[:, place * size : (place + steps) * size]

    def moved(self, index: Tensor) -> Tensor | None:
        """How these images of each seed, (seeds, images), are moved in this epoch, if they are."""
        if self.moves is None:
            return None
        return self.moves.gather(1, index[..., None].expand(*index.shape, augment.COEFFICIENTS))

    def _each(self, array: Tensor) -> Tensor:
        """What each run sees of what its seed sees; a view where all runs have one seed."""
        if len(array) == 1:
            return array.expand(len(self.runs), *array.shape[1:])
        assert self.rows is not None
        return array.index_select(0, self.rows)

    def _draw(self, epoch: int) -> None:
        """Draw each seed's order of an epoch's images, and their moves."""
        x, seeds = self.data["fed"].x, sorted(set(self.seeds))
        self.orders = torch.stack([order(seed, epoch, len(x)) for seed in seeds]).to(x.device)
        if self.rows is None:  # and else the same: a recorded step reads them where they are
            self.rows = torch.tensor([seeds.index(seed) for seed in self.seeds], device=x.device)
        if self.online:
            moves = [augment.online(seed, self.online, epoch, x.movedim(-1, 1).shape) for seed in seeds]
            self.moves = torch.stack(moves).to(x.device)

    def part(self, rows: list[int]) -> "Pack":
        """These runs alone, in a pack of their own."""
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
            moves=None,
            recorded=None,
            stepper=None,
        )

    def example(self) -> "Pack":
        """A made-up run of this shape before its first step, the same whichever runs the pack has: to try things on."""
        made = self.part([0])
        values, moving = self.network.start([0])
        known = {"values": values, "moving": moving, "rate": torch.full((1,), 0.1).double(), "factor": torch.ones(1)}
        made.arrays = {name: known.get(name, torch.zeros_like(a)).to(a) for name, a in made.arrays.items()}
        made.runs, made.step = [self.run.model_copy(update={"seed": 0})], 0
        return made

    def keep(self, rows: list[int]) -> None:
        """Go on with these runs alone."""
        rest = self.part(rows)
        self.names, self.runs, self.history, self.probed = rest.names, rest.runs, rest.history, rest.probed
        self.arrays, self.orders, self.rows, self.moves = rest.arrays, None, None, None
        self.bind()

    def release(self) -> None:
        """Let the arrays and the data go, and what a GPU's memory keeps of them."""
        self.arrays, self.data, self.orders, self.moves = {}, {}, None, None
        self.recorded, self.stepper = None, None
        for layer in self.network.layers:
            layer.__dict__.clear()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def bind(self) -> None:
        """Let the network use the arrays as they are now."""
        self.stepper = None
        self.network.bind(self.arrays["values"], self.arrays["moving"], self.arrays["grads"])


def _gather(rows: Tensor, index: Tensor) -> Tensor:
    return rows.index_select(0, index.flatten()).view(*index.shape, *rows.shape[1:])


@dataclass(frozen=True)
class Outcome:
    """What became of a run: status, counts, losses and accuracies; its history; what its probes saw; kept weights."""

    name: str
    run: Run
    result: dict[str, Any]
    history: list[Row]
    probed: list[Probed] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
