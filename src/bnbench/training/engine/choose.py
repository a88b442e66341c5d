"""The choice of how a pack is executed: one place, from the runs' settings and the machine alone.

| network | its steps | where |
| --- | --- | --- |
| compiled calls | compiled programs | on a CPU with a C compiler: results are the same bytes on every processor |
| torch's operations | CUDA graphs | on a GPU |
| torch's operations | single operations | on a CPU without a compiler, or with a layer that has no compiled calls |
| NumPy in float64 | single operations | on a CPU, with `backend: numpy` |

Neither the number of runs in a pack nor their weights have a part in it.
"""

from typing import Protocol

from torch import Tensor

from bnbench.params import architecture
from bnbench.params.run_schema import Run
from bnbench.training.engine.compiled_network import CompiledNetwork, uncompiled
from bnbench.training.engine.compiled_steps import CompiledSteps
from bnbench.training.engine.cuda_graphs import GraphSteps
from bnbench.training.engine.numpy_reference import HandNetwork
from bnbench.training.engine.step import Operations
from bnbench.training.kernels import loops
from bnbench.training.nets.network import Network
from bnbench.training.pack.pack import Pack


class Steps(Protocol):
    """A way to execute training steps."""

    name: str

    def step(self, pack: Pack) -> None:
        """Train every run by one step or more, to the end of an interval or epoch at most."""


class Engine:
    """Execution of one pack: its training steps, its predictions, and all that is recorded of its arrays."""

    def __init__(self, steps: Steps, reason: str) -> None:
        self.name, self.reason, self.steps = steps.name, reason, steps

    def step(self, pack: Pack) -> None:
        """Train every run by one step or more, to the end of an interval or epoch at most."""
        self.steps.step(pack)

    def predict(self, pack: Pack, x_NHWC: Tensor) -> Tensor:
        """Return logits_RNK of images, with the weights that the network is bound to."""
        return pack.network.forward(x_NHWC.expand(len(pack.names), *x_NHWC.shape))

    def close(self) -> None:
        """Drop what is recorded, and the memory that it holds: the engine cannot be used after it."""
        del self.steps


def network(run: Run, shape: architecture.Shape, device: str = "cpu") -> Network:
    """Return the networks of a pack's runs: see the table of this module."""
    if run.backend == "numpy":
        return HandNetwork(run, shape)
    plain = Network(run, shape)
    return plain if device != "cpu" or uncompiled(plain) else CompiledNetwork(run, shape)


def choose(pack: Pack) -> Engine:
    """Return the engine of a pack, and bind the pack's network."""
    pack.bind()
    if pack.arrays["values"].is_cuda:
        return Engine(GraphSteps(), "trained on a GPU")
    if isinstance(pack.network, CompiledNetwork):
        return Engine(CompiledSteps(), "")
    if pack.run.backend == "numpy":
        return Engine(Operations(), "backend: numpy")
    loops.lacking["compiled calls"] = reason = uncompiled(pack.network)
    return Engine(Operations(), reason)
