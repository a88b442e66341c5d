"""Networks of a pack whose passes are compiled calls, one run after the other: the network of exact results on a CPU.

Nothing that is computed for a run depends on the other runs of its pack: each has calls and arrays of its own.
"""

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from bnbench.arithmetic import library
from bnbench.arithmetic.library import Array, Call
from bnbench.params import architecture
from bnbench.params.run_schema import Population, Run
from bnbench.training.engine.layer_calls import LAYERS
from bnbench.training.engine.program import Pass, Pool, Position, Program
from bnbench.training.nets.layers import Moment
from bnbench.training.nets.network import Network


def record(program: Program, x: Array, labels: Array | None = None, noted: tuple[Array, ...] = ()) -> Tensor:
    """Record a run's pass into a program; return the logits_NK.

    Args:
        program: an empty one.
        x: the images, (N, ...).
        labels: the class of each image, as fp32: then the loss is recorded before the way back.
        noted: where the loss and the number of correct predictions are written.
    """
    layers, backs = program.network.layers, []
    for index, layer in enumerate(layers):
        x, back = LAYERS[type(layer)](program, index, layer, x)
        backs.append(back)
        if isinstance(x, Tensor):  # not a view of the images
            program.outputs.append(x)
            if not (program.of.training or program.of.traced):
                program.reuse_all_but(x)
    assert isinstance(x, Tensor)
    program.calls = program.backward
    program.gradient = dy = program.empty(*x.shape)
    if labels is not None:
        divisor = len(x) if program.run.loss == "mean" else 1
        program.call("cross_entropy", x.shape, [x, labels, dy, *noted], [divisor])
    if program.of.update or "grads" in program.rows:
        first = next(index for index, layer in enumerate(layers) if layer.weights)
        for index in range(len(layers) - 1, first - 1, -1):
            dy = backs[index](dy, index > first)
    return x


@dataclass
class Recorded:
    """A run's program with the arrays that go in and out, and its two lists of calls."""

    program: Program
    x: Tensor
    logits: Tensor
    forward: ctypes.Array[Call]
    backward: ctypes.Array[Call]


class CompiledNetwork(Network):
    """R networks of one shape, executed by compiled calls."""

    def __init__(self, run: Run, shape: architecture.Shape) -> None:
        super().__init__(run, shape)
        self.moment = Moment([])
        self.recorded: dict[Pass, list[Recorded]] = {}
        self.last: list[Recorded] = []  # those of the last forward pass in training
        self.grads: Tensor | None = None

    def bind(self, values: Tensor, moving: Tensor, grads: Tensor | None = None) -> None:
        """Use these arrays of weights, statistics and gradients, (runs, row) each, from now on."""
        new = values, moving, grads
        if any(a is not b for a, b in zip(new, (*self.bound, self.grads), strict=True)):
            self.recorded, self.last = {}, []
        super().bind(values, moving, grads)
        self.grads = grads

    def at(self, moment: Moment) -> None:
        """Set the position of the next training step."""
        self.moment = moment

    def forward(
        self,
        x: Tensor,
        training: bool = False,
        statistics: Population | None = None,
        trace: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the logits_RNK of images x_RNHWC: see `Network.forward`."""
        of = Pass(x.shape[1], statistics or self.population, training, traced=trace is not None)
        programs = self._programs(of, x)
        logits = x.new_empty(len(x), *programs[0].logits.shape)
        outputs = [x.new_empty(len(x), *out.shape) for out in programs[0].program.outputs] if of.traced else []
        for r, each in enumerate(programs):
            if r == 0 or x.stride(0) or each.x is not programs[0].x:
                each.x.copy_(x[r])
            each.program.at([Position(self.moment.step, self.moment.epoch_steps)])
            library.replay(each.forward)
            logits[r].copy_(each.logits)
            for out, value in zip(outputs, each.program.outputs, strict=False):
                out[r].copy_(value)
        if trace is not None:
            trace += outputs
        self.last = programs if training else []
        return logits

    def backward(self, dy: Tensor) -> None:
        """Write the gradients of all weights, given that of the logits_RNK of the last forward pass in training."""
        for each, gradient in zip(self.last, dy, strict=True):
            each.program.gradient.copy_(gradient)
            library.replay(each.backward)

    def _programs(self, of: Pass, x: Tensor) -> list[Recorded]:
        """Return each run's program of such a pass; outside training they share their arrays."""
        if of not in self.recorded:
            values, moving = self.bound
            shared: Pool = {}
            found = []
            for r in range(len(x)):
                rows = {"values": values[r], "moving": moving[r]}
                if self.grads is not None:
                    rows["grads"] = self.grads[r]
                seed = self.moment.seeds[r] if of.training else 0
                found.append(self._record(of, rows, {} if of.training else shared, seed, x[r]))
            self.recorded[of] = found
        return self.recorded[of]

    def _record(self, of: Pass, rows: dict[str, Tensor], pool: Pool, seed: int, x: Tensor) -> Recorded:
        program = Program(self, of, rows, pool, seed)
        images = pool.setdefault(("images", x.numel()), [torch.empty(x.shape)])[0]
        logits = record(program, images)
        return Recorded(program, images, logits, library.listed(program.forward), library.listed(program.backward))


def uncompiled(network: Network) -> str:
    """Return why a network cannot be executed by compiled calls, or an empty string."""
    unknown = sorted({type(layer).__name__ for layer in network.layers} - {kind.__name__ for kind in LAYERS})
    return library.lacking() or (f"no compiled calls for {', '.join(unknown)}" if unknown else "")
