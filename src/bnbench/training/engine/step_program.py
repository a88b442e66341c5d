"""The training step of a dense net as a list of compiled calls, replayed step after step without Python.

A run trains through a block of steps alone, so that its weights and gradients stay in the core's cache; the runs of
a pack follow each other. Every call gives the numbers of torch's operations, bit for bit, which is checked on the
first step of an example.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor

from bnbench.training.arithmetic import calls, kernels
from bnbench.training.arithmetic.calls import Call, EachStep
from bnbench.training.engine import layer_programs
from bnbench.training.engine.layer_programs import LAYERS
from bnbench.training.engine.program import Program
from bnbench.training.engine.step import train_step
from bnbench.training.pack.optimizers import OPTIMIZERS
from bnbench.training.pack.pack import Pack
from bnbench.training.probes import PROBES

LANES = 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8  # floats in one of torch's vectors
# limits of a block of steps: mini-batches that stay in a shared cache, and seconds until a signal is noticed
BATCHES_BYTES, BLOCK_SECONDS, OPERATIONS = 2**23, 0.25, 5e10


def recordable(pack: Pack) -> bool:
    """Return whether compiled calls exist for a pack's step: for its layers, without augmentation in each epoch.

    A population of the last epoch's statistics, and probes that look into a step, are not compiled.
    """
    return (
        layer_programs.recordable(pack)
        and pack.online is None
        and pack.run.population != "last_epoch"
        and all(PROBES[name].moment != "step" for name in pack.run.probes)
    )


class CompiledSteps:
    """Execution of training steps by a compiled program, recorded again whenever the pack's arrays are replaced."""

    name = "programs"

    def __init__(self) -> None:
        self.program: StepProgram | None = None

    @staticmethod
    def fits(example: Pack) -> bool:
        """Return whether a compiled step gives the bits of torch's operations, tried on an example's first step."""
        if not recordable(example):
            return False
        compiled, plain = example.example(), example.example()
        StepProgram(compiled).advance(compiled, 1)
        plain.bind()
        train_step(plain)
        pairs = [(array, plain.arrays[name]) for name, array in compiled.arrays.items() if name != "grads"]
        same = all(layer_programs.agree(example.run, *pair) for pair in pairs)
        if not same:
            kernels.lacking[f"compiled steps of {example.run.model}"] = "their numbers are not torch's"
        return same

    def step(self, pack: Pack) -> None:
        """Train every run by a block of steps, to the end of an interval or epoch at most."""
        if self.program is None or not self.program.fits(pack):
            self.program = StepProgram(pack)
        self.program.advance(pack)


class StepProgram:
    """The compiled training step of each run of a pack, on its present arrays.

    Args:
        pack: the runs.
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
        names = ("values", "moving", "epoch_loss", *OPTIMIZERS[run.optimizer][1])
        self.arrays = {name: pack.arrays[name] for name in names}
        self.programs: list[Program] = []  # they hold the arrays that their calls point to
        self.recordings = [self._record(pack, i) for i in range(len(pack.names))]

    def fits(self, pack: Pack) -> bool:
        """Return whether the pack still has the arrays that the calls point to."""
        return all(pack.arrays[name] is array for name, array in self.arrays.items())

    def _record(self, pack: Pack, i: int) -> ctypes.Array[Call]:
        """Record the calls of one run's step: forward pass, loss, backward pass and update."""
        rows = {name: array[i] for name, array in self.arrays.items()}
        rows |= {"rates": self.rates[i], "corrections": self.corrections}
        program = Program(pack.network, pack.run, pack.run.batch_size, rows, self.pool)
        seed, layers = self.seeds.index(pack.seeds[i]), pack.network.layers
        x: Any = EachStep(self.x[seed].view(self.block, pack.run.batch_size, -1))
        backs = []
        for index, layer in enumerate(layers):
            x, back = LAYERS[type(layer)](program, index, layer, x)
            backs.append(back)
        target = EachStep(self.target[seed].view(self.block, pack.run.batch_size, -1))
        dy, noted = program.empty(*x.shape), [EachStep(self.losses[i]), EachStep(self.correct[i])]
        work = program.empty(2 * x.shape[1] + 1, -(-len(x) // 8) * 8)
        constants = [len(x) if pack.run.loss == "mean" else 1]
        program.call(
            "cross_entropy",
            [*x.shape, LANES],
            [x, target, dy, *noted, rows["epoch_loss"], work],
            constants,
        )
        first = next(i for i, layer in enumerate(layers) if layer.weights)
        for index in range(len(layers) - 1, first - 1, -1):
            dy = backs[index](dy, index > first)
        self.programs.append(program)
        return (Call * len(program.calls))(*program.calls)

    def advance(self, pack: Pack, most: int | None = None) -> None:
        """Train every run by a block of steps, of `most` steps if given, to the end of an interval or epoch at most."""
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
        """Set the learning rate of each run and step; for Adam, over the first bias correction, and the second one."""
        run, rates = pack.run, self.rates[:, :steps]
        rates.copy_(pack.rate.expand(-1, steps))
        if run.optimizer == "adam":
            # powers by Python: torch's may differ between elements in a full vector and the rest of a block
            taken = range(pack.step + 1, pack.step + steps + 1)
            rates.div_(torch.tensor([1 - run.beta1**step for step in taken]))
            self.corrections[:steps] = torch.tensor([1 - run.beta2**step for step in taken])
