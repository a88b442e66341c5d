"""Training steps as lists of compiled calls, replayed step after step without Python.

A run trains through a block of steps alone, so that its weights and gradients stay in the core's cache; the runs of a
pack follow each other. The calls are those of `CompiledNetwork`, with the updates among them.
"""

from dataclasses import replace

import torch

from bnbench.arithmetic import library
from bnbench.arithmetic.library import EachStep
from bnbench.data import augment
from bnbench.plan.cost import flops
from bnbench.training import probes
from bnbench.training.engine.compiled_network import record
from bnbench.training.engine.program import Pass, Pool, Position, Program
from bnbench.training.nets.layers import Moment
from bnbench.training.pack.optimizers import OPTIMIZERS
from bnbench.training.pack.pack import Pack

# limits of a block of steps: mini-batches that stay in a shared cache, and seconds until a signal is noticed
BATCHES_BYTES, BLOCK_SECONDS, OPERATIONS = 2**23, 0.25, 5e10


class CompiledSteps:
    """Execution of training steps by compiled programs, recorded again whenever the pack's arrays are replaced."""

    name = "compiled programs"

    def __init__(self) -> None:
        self.program: StepProgram | None = None

    def step(self, pack: Pack) -> None:
        """Train every run by a block of steps, to the end of an interval or epoch at most.

        A step that a probe looks into is executed by itself: its gradients are stored.
        """
        if probes.looks(pack, "step"):
            probed_step(pack)
            return
        if self.program is None or not self.program.fits(pack):
            self.program = StepProgram(pack)
        self.program.advance(pack)


def probed_step(pack: Pack) -> None:
    """Train every run by one step whose gradients are stored, and let probes look at them before the update."""
    arrays, network, runs = pack.arrays, pack.network, range(len(pack.names))
    x, target = pack.batch(pack.step)
    network.at(Moment(pack.seeds, pack.step, pack.epoch_steps))
    logits = network.forward(x, training=True)
    labels, gradient, noted = target.argmax(-1).float(), torch.empty_like(logits), torch.empty(2, len(runs))
    divisor = pack.run.batch_size if pack.run.loss == "mean" else 1
    for r in runs:
        of_run = [logits[r], labels[r].contiguous(), gradient[r], noted[0, r], noted[1, r]]
        library.run("cross_entropy", logits.shape[1:], of_run, [divisor])
    network.backward(gradient)
    probes.look(pack, "step")
    names = ("values", "moving", "grads", *OPTIMIZERS[pack.run.optimizer][1])
    for r, rate in zip(runs, pack.rate.flatten().tolist(), strict=True):
        of = Pass(pack.run.batch_size, pack.run.population, update=True)
        program = Program(network, of, {name: arrays[name][r] for name in names}, {}, pack.seeds[r])
        for slot in network.weights:
            program.update(slot.layer, slot.name, program.slot(slot.layer, slot.name, "grads"))
        program.at([Position(pack.step, pack.epoch_steps, rate)])
        library.replay(library.listed(program.calls))
    column = pack.step % pack.interval
    arrays["losses"][:, column], arrays["correct"][:, column] = noted
    arrays["epoch_loss"].add_(noted[0])
    pack.step += 1


class StepProgram:
    """The compiled training step of each run of a pack, on its present arrays.

    Args:
        pack: the runs.
    """

    def __init__(self, pack: Pack) -> None:
        run, fed, runs = pack.run, pack.data["fed"], len(pack.names)
        self.seeds = sorted(set(pack.seeds))
        values = run.batch_size * fed.x[0].numel()
        work = 3 * runs * run.batch_size * flops(run.model, pack.network.shape)
        fitting = min(BATCHES_BYTES // (4 * values * len(self.seeds)), int(BLOCK_SECONDS * OPERATIONS / work))
        self.block = max(1, min(fitting, pack.interval, pack.epoch_steps))
        images = len(self.seeds), self.block, run.batch_size
        self.x, self.labels = torch.empty(*images, *fed.x.shape[1:]), torch.empty(images)
        self.losses, self.correct = torch.empty(2, runs, self.block)
        names = ("values", "moving", *OPTIMIZERS[run.optimizer][1])
        self.arrays = {name: pack.arrays[name] for name in names}
        self.classes = fed.labels.float()
        pool: Pool = {}
        of = Pass(run.batch_size, run.population, training=True, update=True, block=self.block)
        self.programs = [self._record(pack, of, pool, i) for i in range(runs)]
        self.calls = [library.listed([*program.forward, *program.backward]) for program in self.programs]

    def fits(self, pack: Pack) -> bool:
        """Return whether the pack still has the arrays that the calls point to."""
        return all(pack.arrays[name] is array for name, array in self.arrays.items())

    def _record(self, pack: Pack, of: Pass, pool: Pool, i: int) -> Program:
        """Record the calls of one run's step: forward pass, loss, backward pass and update."""
        rows = {name: array[i] for name, array in self.arrays.items()}
        program, seed = Program(pack.network, of, rows, pool, pack.seeds[i]), self.seeds.index(pack.seeds[i])
        noted = EachStep(self.losses[i]), EachStep(self.correct[i])
        record(program, EachStep(self.x[seed]), EachStep(self.labels[seed]), noted)
        return program

    def advance(self, pack: Pack) -> None:
        """Train every run by a block of steps, to the end of an interval or epoch at most, or to a probe's step."""
        column, steps = pack.step % pack.interval, self._steps(pack)
        self._feed(pack, steps)
        rates = pack.rate.flatten().tolist()
        for program, calls, rate in zip(self.programs, self.calls, rates, strict=True):
            program.at([Position(pack.step + step, pack.epoch_steps, rate) for step in range(steps)])
            library.replay(calls, steps)
        pack.arrays["losses"][:, column : column + steps] = self.losses[:, :steps]
        pack.arrays["correct"][:, column : column + steps] = self.correct[:, :steps]
        for losses in self.losses[:, :steps].unbind(1):
            pack.arrays["epoch_loss"].add_(losses)
        pack.step += steps

    def _steps(self, pack: Pack) -> int:
        """Return the number of steps to take."""
        left = pack.interval - pack.step % pack.interval, pack.epoch_steps - pack.step % pack.epoch_steps
        most = min(self.block, *left, pack.steps - pack.step)
        if not pack.run.probes:
            return most
        later = (steps for steps in range(1, most) if probes.looks(replace(pack, step=pack.step + steps), "step"))
        return next(later, most)

    def _feed(self, pack: Pack, steps: int) -> None:
        """Gather the mini-batches of the next steps, of each seed."""
        index = pack.drawn(pack.step, steps)
        transforms = pack.transforms_of(index)
        for seed, images in enumerate(index):
            x, labels = self.x[seed].flatten(0, 1)[: len(images)], self.labels[seed].flatten()[: len(images)]
            torch.index_select(pack.data["fed"].x, 0, images, out=x)
            torch.index_select(self.classes, 0, images, out=labels)
            if transforms is not None:
                x.copy_(augment.transform(x, transforms[seed]))
