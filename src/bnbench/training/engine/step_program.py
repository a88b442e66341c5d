"""The training step of dense nets as a list of compiled calls, replayed step after step without Python.

A run trains through a block of steps alone, so that its weights and gradients stay in the core's cache; the runs of
a pack follow each other. Every call gives the numbers of torch's operations, bit for bit; the first step of each
recording is held against theirs. What cannot be recorded (`recordable`) trains by those operations.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor

from bnbench.training.arithmetic import calls
from bnbench.training.arithmetic.calls import Call, EachStep
from bnbench.training.engine import layer_programs
from bnbench.training.engine.layer_programs import RECORDED
from bnbench.training.engine.program import Recorder
from bnbench.training.pack.optimizers import OPTIMIZERS
from bnbench.training.pack.pack import Pack
from bnbench.training.probes import PROBES

LANES = 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8  # numbers in a vector of torch's
# what a block of steps may take: batches that stay in a shared cache, and seconds until a signal is heard
BATCHES_BYTES, BLOCK_SECONDS, OPERATIONS = 2**23, 0.25, 5e10


def recordable(pack: Pack) -> bool:
    """Whether a pack's step is one that can be recorded: its layers', and its batches are images as they are.

    No probe may look into a step.
    """
    return (
        layer_programs.recordable(pack)
        and pack.online is None
        and pack.run.population != "last_epoch"
        and all(PROBES[name].moment != "step" for name in pack.run.probes)
    )


class Tape:
    """A pack's step, recorded for each run.

    Args:
        pack: as it is; where its arrays are replaced, it needs another tape.
    """

    def __init__(self, pack: Pack) -> None:
        run, fed = pack.run, pack.data["fed"]
        self.seeds = sorted(set(pack.seeds))
        size = run.batch_size * fed.x[0].numel()
        work = 6 * len(pack.names) * run.batch_size * pack.network.parameters
        fitting = min(BATCHES_BYTES // (4 * size * len(self.seeds)), int(BLOCK_SECONDS * OPERATIONS / work))
        self.block = max(1, min(fitting, pack.interval, pack.epoch_steps))
        images = len(self.seeds), self.block * run.batch_size
        self.x, self.target = (
            fed.x.new_empty(*images, fed.x[0].numel()),
            fed.target.new_empty(*images, fed.target.shape[1]),
        )
        self.losses, self.correct, self.rates = torch.empty(3, len(pack.names), self.block)
        self.corrections = torch.empty(self.block)
        self.pool = dict[int, list[Tensor]]()
        self.held: list[Recorder] = []
        self.recordings = [self._record(pack, i) for i in range(len(pack.names))]

    def _record(self, pack: Pack, i: int) -> ctypes.Array[Call]:
        names = ("values", "moving", *OPTIMIZERS[pack.run.optimizer][1])
        rows = {name: pack.arrays[name][i] for name in names}
        rows |= {"rates": self.rates[i], "corrections": self.corrections}
        tape = Recorder(pack.network, pack.run, pack.run.batch_size, rows, self.pool)
        seed, layers = self.seeds.index(pack.seeds[i]), pack.network.layers
        x: Any = EachStep(self.x[seed].view(self.block, pack.run.batch_size, -1))
        backs = []
        for index, layer in enumerate(layers):
            x, back = RECORDED[type(layer)](tape, index, layer, x)
            backs.append(back)
        target = EachStep(self.target[seed].view(self.block, pack.run.batch_size, -1))
        dy, noted = tape.empty(*x.shape), [EachStep(self.losses[i]), EachStep(self.correct[i])]
        work = tape.empty(2 * x.shape[1] + 1, -(-len(x) // 8) * 8)
        constants = [len(x) if pack.run.loss == "mean" else 1]
        tape.call(
            "cross_entropy",
            [*x.shape, LANES],
            [x, target, dy, *noted, pack.arrays["epoch_loss"][i], work],
            constants,
        )
        first = next(i for i, layer in enumerate(layers) if layer.weights)
        for index in range(len(layers) - 1, first - 1, -1):
            dy = backs[index](dy, index > first)
        self.held.append(tape)
        return (Call * len(tape.calls))(*tape.calls)

    def advance(self, pack: Pack, most: int | None = None) -> None:
        """Train every run to the end of a block, an interval or an epoch, or by `most` steps."""
        column = pack.step % pack.interval
        left = pack.interval - column, pack.epoch_steps - pack.step % pack.epoch_steps, pack.steps - pack.step
        steps = min(most or self.block, self.block, *left)
        index = pack.drawn(pack.step, steps)
        for seed, images in enumerate(index):
            torch.index_select(pack.data["fed"].x.flatten(1), 0, images, out=self.x[seed, : len(images)])
            torch.index_select(pack.data["fed"].target, 0, images, out=self.target[seed, : len(images)])
        self._set_rates(pack, steps)
        for recording in self.recordings:
            calls.replay(recording, steps)
        pack.arrays["losses"][:, column : column + steps] = self.losses[:, :steps]
        pack.arrays["correct"][:, column : column + steps] = self.correct[:, :steps]
        pack.step += steps

    def _set_rates(self, pack: Pack, steps: int) -> None:
        """The learning rate of each run and step; Adam's with its first correction, and the other."""
        run, rates = pack.run, self.rates[:, :steps]
        rates.copy_(pack.rate.expand(-1, steps))
        if run.optimizer == "adam":
            # by Python: torch's powers may differ between a vector's numbers and the rest of a block
            taken = range(pack.step + 1, pack.step + steps + 1)
            rates.div_(torch.tensor([1 - run.beta1**step for step in taken]))
            self.corrections[:steps] = torch.tensor([1 - run.beta2**step for step in taken])
