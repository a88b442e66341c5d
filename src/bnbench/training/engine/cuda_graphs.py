"""Training steps on a GPU as a CUDA graph: recorded once, replayed for each step.

With small mini-batches a GPU waits for the kernel launches, not for the arithmetic; a replay is one launch. Whatever
differs between two steps lies in arrays at fixed addresses, filled before each replay: indices of the images, dropout's
random numbers, Adam's step count, the column of the history. A pack that lost runs has other arrays, and another graph.
"""

import torch
from torch import Tensor

from bnbench.data import random_streams
from bnbench.training import probes
from bnbench.training.arithmetic import gpu, kernels
from bnbench.training.engine.step import torch_step, train_step
from bnbench.training.nets.layers import Dropout, Moment
from bnbench.training.pack.pack import Pack

WARM = 2  # steps on the recording's stream before it
AHEAD = 2**24  # dropout's numbers drawn at once: 64 MiB, and ten times that while they are drawn
GRAPHS = "graphs of steps on this GPU"


class GraphSteps:
    """Execution of training steps as a CUDA graph; step by step where the GPU or the step does not permit one."""

    name = "CUDA graphs"

    def __init__(self) -> None:
        self.recorded: StepGraph | None = None

    @property
    def replays(self) -> bool:
        """Return whether a graph is recorded by now."""
        return self.recorded is not None and self.recorded.graph is not None

    def step(self, pack: Pack) -> None:
        """Train every run by one step.

        Raises:
            torch.OutOfMemoryError: the GPU has no memory for it.
        """
        graph = None if GRAPHS in kernels.lacking else self.prepared(pack)
        if graph is None:
            train_step(pack)
            return
        try:
            graph.advance(pack)
        except gpu.Unrecorded as error:
            kernels.lacking[GRAPHS], self.recorded = str(error), None
            train_step(pack)

    def prepared(self, pack: Pack) -> "StepGraph | None":
        """Return the graph of the pack's next step; None if it is not capturable, or the first of a net with dropout.

        The first step shows the shapes of the dropout layers' inputs.
        """
        if not capturable(pack) or not all(layer.shape for layer in _dropouts(pack)):
            return None
        if self.recorded is None or not self.recorded.fits(pack):
            self.recorded = None  # free its memory first
            self.recorded = StepGraph(pack)
        return self.recorded


def capturable(pack: Pack) -> bool:
    """Return whether the pack's next step makes the same calls, with the same constants, as all that follow.

    It does not while a probe looks into it, while a bound of batch renormalisation rises, with `population:
    last_epoch`, whose weights differ from step to step, and in NumPy.
    """
    run = pack.run
    look = any(
        probe.moment == "step" and probe.due(pack) for name, probe in probes.PROBES.items() if name in run.probes
    )
    return run.backend == "torch" and run.population != "last_epoch" and not look and _ramps_finished(pack)


def _ramps_finished(pack: Pack) -> bool:
    return all(pack.step / pack.epoch_steps >= layer.settled for layer in pack.network.layers)


def _forget(pack: Pack) -> None:
    """Delete the arrays that the layers hold of the last step: a graph has memory of its own."""
    for layer in pack.network.layers:
        for name in [name for name, value in vars(layer).items() if isinstance(value, Tensor)]:
            delattr(layer, name)


def _dropouts(pack: Pack) -> list[Dropout]:
    return [layer for layer in pack.network.layers if isinstance(layer, Dropout)]


class StepGraph:
    """The training step of a pack on its present arrays. All but `advance` works on a CPU too, call by call.

    Args:
        pack: the runs; the network has executed a training step before.
    """

    def __init__(self, pack: Pack) -> None:
        self.values = pack.arrays["values"]
        device = self.values.device
        index = pack.drawn(pack.step)
        moves = pack.transforms_of(index)
        self.index, self.moves = index.clone(), None if moves is None else moves.clone()
        self.count = torch.zeros((), dtype=torch.float64, device=device)
        self.column = torch.zeros(1, dtype=torch.long, device=device)
        self.draws = Draws(pack)
        self.warm = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def fits(self, pack: Pack) -> bool:
        """Return whether the pack still has the arrays that are recorded."""
        return pack.arrays["values"] is self.values

    def feed(self, pack: Pack) -> None:
        """Fill the input arrays for the pack's next step."""
        index = pack.drawn(pack.step)
        moves = pack.transforms_of(index)
        self.index.copy_(index)
        if self.moves is not None and moves is not None:
            self.moves.copy_(moves)
        self.count.fill_(pack.step + 1)
        self.column.fill_(pack.step % pack.interval)
        self.draws.feed(pack)

    def step(self, pack: Pack) -> None:
        """Execute `train_step` on the input arrays as they are filled."""
        arrays = pack.arrays
        x, target = pack.images(self.index, self.moves)
        pack.network.at(Moment(pack.seeds, pack.step, pack.epoch_steps, self.draws.now))
        logits, loss = torch_step(pack, x, target, self.count)
        correct = (logits.argmax(-1) == target.argmax(-1)).sum(1).float()
        arrays["losses"].index_copy_(1, self.column, loss[:, None])
        arrays["correct"].index_copy_(1, self.column, correct[:, None])
        arrays["epoch_loss"].add_(loss)

    def advance(self, pack: Pack) -> None:
        """Train by one step: the first ones call by call, which initialises the libraries; then as a graph.

        Raises:
            gpu.Unrecorded: it cannot be recorded; nothing is changed.
            torch.OutOfMemoryError: the GPU has no memory for it.
        """
        self.feed(pack)
        on = gpu.stream(self.values.device, "step")
        if self.warm < WARM:
            with gpu.following(on):
                self.step(pack)
            self.warm += 1
        else:
            if self.graph is None:
                _forget(pack)
                self.graph = gpu.record(lambda: self.step(pack), on)
            self.graph.replay()
        pack.step += 1


class Draws:
    """Dropout's random numbers of a step, `now`, by the layer's position; drawn on the GPU for many steps at once."""

    def __init__(self, pack: Pack) -> None:
        self.device = pack.arrays["values"].device
        shapes = {layer.place: (len(pack.runs), *layer.shape) for layer in _dropouts(pack)}
        self.now = {place: torch.empty(shape, device=self.device) for place, shape in shapes.items()}
        self.steps = range(0)
        self.ahead: dict[int, Tensor] = {}

    def feed(self, pack: Pack) -> None:
        """Fill `now` for the pack's next step."""
        if self.now and pack.step not in self.steps:
            self._draw(pack)
        for place, now in self.now.items():
            now.copy_(self.ahead[place][pack.step - self.steps.start].view_as(now))

    def _draw(self, pack: Pack) -> None:
        self.ahead.clear()
        most = max(AHEAD // sum(now.numel() for now in self.now.values()), 1)
        self.steps = range(pack.step, min(pack.step + most, pack.steps))
        for place, now in self.now.items():
            count = now[0].numel()
            self.ahead[place] = random_streams.dropout(pack.seeds, place, self.steps, count, self.device)
