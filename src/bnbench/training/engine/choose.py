"""The choice of how a pack is executed: one place, once per pack, from the runs' settings and the machine.

| engine | executes | where |
| --- | --- | --- |
| CUDA graphs | training steps | on a GPU |
| compiled programs | training steps and predictions of dense nets | on a CPU with a C compiler |
| single operations | everything | everywhere: by torch, or by NumPy with `backend: numpy` |

Whether a compiled program applies is decided on an example: one run of the pack's shape with weights from seed 0. So
neither the number of runs in a pack nor their weights can change which arithmetic a run is trained with.
"""

from typing import Protocol

from torch import Tensor

from bnbench.training.engine.cuda_graphs import GraphSteps
from bnbench.training.engine.inference_program import CompiledPredictions
from bnbench.training.engine.step import Operations
from bnbench.training.engine.step_program import CompiledSteps
from bnbench.training.pack.pack import Pack


class Steps(Protocol):
    """A way to execute training steps."""

    name: str

    def step(self, pack: Pack) -> None:
        """Train every run by one step or more, to the end of an interval or epoch at most."""


class Predictions(Protocol):
    """A way to execute forward passes outside training."""

    def predict(self, pack: Pack, x_NHWC: Tensor) -> Tensor:
        """Return logits_RNK of images, with the weights that the network is bound to."""


class Engine:
    """Execution of one pack: its training steps, its predictions, and all that is recorded of its arrays."""

    def __init__(self, steps: Steps, predictions: Predictions) -> None:
        self.name = steps.name
        self.reason = ""  # why no programs are used, where they are not
        self.steps = steps
        self.predictions = predictions

    def step(self, pack: Pack) -> None:
        """Train every run by one step or more, to the end of an interval or epoch at most."""
        self.steps.step(pack)

    def predict(self, pack: Pack, x_NHWC: Tensor) -> Tensor:
        """Return logits_RNK of images, with the weights that the network is bound to."""
        return self.predictions.predict(pack, x_NHWC)

    def close(self) -> None:
        """Drop what is recorded, and the memory that it holds: the engine cannot be used after it."""
        del self.steps, self.predictions


def choose(pack: Pack) -> Engine:
    """Return the fastest engine that gives a pack the numbers of single operations, and bind the pack's network."""
    if pack.arrays["values"].is_cuda:
        return Engine(GraphSteps(), Operations())
    example = pack.example()
    steps = CompiledSteps() if CompiledSteps.fits(example) else Operations()
    predictions = CompiledPredictions() if CompiledPredictions.fits(example) else Operations()
    pack.bind()  # the example used the same network
    return Engine(steps, predictions)
