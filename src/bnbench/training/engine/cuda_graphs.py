"""A pack's training step on a GPU, recorded once as a graph of calls and replayed for each step.

At small batches a GPU waits for the calls, not for the arithmetic; a replay is one call. What differs between two
steps lies in arrays that stay where they are and are filled before: which images, dropout's numbers, Adam's count,
the column of the history. A pack that lost runs has other arrays, and is recorded anew.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bnbench.data import random_streams
from bnbench.training import probes
from bnbench.training.arithmetic import gpu, kernels, twister
from bnbench.training.nets.layers import Dropout, Moment
from bnbench.training.pack.pack import Pack

WARM = 2  # steps on the stream of the recording, before it
AHEAD = 2**26  # of dropout's numbers drawn at once: 256 MiB

# images, target and count of steps -> logits_RNK and loss_R
Work = Callable[[Pack, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
GRAPHS = "graphs of steps on this GPU"


def advance(pack: Pack, work: Work) -> bool:
    """Train a pack by one step as a graph, if it is on a GPU and the step can be one; whether it was.

    Raises:
        torch.OutOfMemoryError: the GPU has no memory for it.
    """
    if pack.arrays["values"].device.type != "cuda" or GRAPHS in kernels.lacking:
        return False
    recorded = prepared(pack, work)
    if recorded is None:
        return False
    try:
        recorded.advance(pack)
    except gpu.Unrecorded as error:
        kernels.lacking[GRAPHS], pack.recorded = str(error), None
        return False
    return True


def prepared(pack: Pack, work: Work) -> "Recorded | None":
    """The pack's next step, in arrays that stay; None where it cannot be, or is the first of a net with dropout."""
    if not capturable(pack) or not all(layer.shape for layer in _dropouts(pack)):
        return None
    if not (isinstance(pack.recorded, Recorded) and pack.recorded.of(pack)):
        pack.recorded = None  # its memory first
        pack.recorded = Recorded(pack, work)
    return pack.recorded


def capturable(pack: Pack) -> bool:
    """Whether the pack's next step is made of the same calls, with the same numbers in them, as all that follow.

    Not where a probe looks at it, while a bound of batch renormalisation rises, with `population: last_epoch`, whose
    weights differ from step to step, and in NumPy. Such a step goes call by call, to the same numbers.
    """
    run = pack.run
    look = any(
        probe.moment == "step" and probe.due(pack) for name, probe in probes.PROBES.items() if name in run.probes
    )
    return run.backend == "torch" and run.population != "last_epoch" and not look and _risen(pack)


def _risen(pack: Pack) -> bool:
    return all(pack.step / pack.epoch_steps >= layer.settled for layer in pack.network.layers)


def _forget(pack: Pack) -> None:
    """Let go what the layers keep of the last step: a graph has memory of its own."""
    for layer in pack.network.layers:
        for name in [name for name, value in vars(layer).items() if isinstance(value, Tensor)]:
            delattr(layer, name)


def _dropouts(pack: Pack) -> list[Dropout]:
    return [layer for layer in pack.network.layers if isinstance(layer, Dropout)]


class Recorded:
    """The step of a pack as it is now. Without `advance` it works on a CPU too, call by call.

    Args:
        pack: whose network has seen a training step.
        work: what a step is.
    """

    def __init__(self, pack: Pack, work: Work) -> None:
        self.values, self.work = pack.arrays["values"], work
        device = self.values.device
        index = pack.drawn(pack.step)
        moves = pack.moved(index)
        self.index, self.moves = index.clone(), None if moves is None else moves.clone()
        self.count = torch.zeros((), dtype=torch.float64, device=device)
        self.column = torch.zeros(1, dtype=torch.long, device=device)
        self.draws = Draws(pack)
        self.warm = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def of(self, pack: Pack) -> bool:
        """Whether the pack still has the arrays that are recorded."""
        return pack.arrays["values"] is self.values

    def feed(self, pack: Pack) -> None:
        """Fill the arrays for the pack's next step."""
        index = pack.drawn(pack.step)
        moves = pack.moved(index)
        self.index.copy_(index)
        if self.moves is not None and moves is not None:
            self.moves.copy_(moves)
        self.count.fill_(pack.step + 1)
        self.column.fill_(pack.step % pack.interval)
        self.draws.feed(pack)

    def step(self, pack: Pack) -> None:
        """`steps.train_step`, of the arrays as they are filled."""
        arrays = pack.arrays
        x, target = pack.images(self.index, self.moves)
        pack.network.at(Moment(pack.seeds, pack.step, pack.epoch_steps, self.draws.now))
        logits, loss = self.work(pack, x, target, self.count)
        correct = (logits.argmax(-1) == target.argmax(-1)).sum(1).float()
        arrays["losses"].index_copy_(1, self.column, loss[:, None])
        arrays["correct"].index_copy_(1, self.column, correct[:, None])
        arrays["epoch_loss"].add_(loss)

    def advance(self, pack: Pack) -> None:
        """One step on the GPU: the first ones call by call, which makes the libraries ready; then as a graph.

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
    """Dropout's numbers of a step, `now`, by the layer's place; drawn on the pack's device for many steps at once."""

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
            seeds = [
                random_streams.stream_seed(seed, "dropout", place, step) for step in self.steps for seed in pack.seeds
            ]
            drawn = twister.uniform(seeds, now[0].numel(), self.device)
            self.ahead[place] = drawn.view(len(self.steps), len(now), -1)
