"""A recorded pass of one run through its network: a list of compiled calls, and the arrays that they point to."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bnbench.arithmetic import fast, library, updates
from bnbench.arithmetic.library import Array, Call, EachStep
from bnbench.params.run_schema import Population, Run
from bnbench.training.nets.network import Network
from bnbench.training.pack.optimizers import OPTIMIZERS

ROWS_BYTES = 2**18  # of a weight's gradient at a time, which its update then finds in a core's second-level cache
PANEL = 64  # floats per row of the inner axis that a product copies: matrix.h

Pool = dict[tuple[str, int], list[Tensor]]


@dataclass(frozen=True)
class Pass:
    """The kind of pass that a program computes, of a mini-batch or of any images.

    Attributes:
        images: number of images.
        statistics: those of the norms over a mini-batch outside training.
        training: normalise by the mini-batch, update the running statistics, apply dropout.
        update: update the weights as soon as their gradients are known, instead of storing the gradients.
        traced: every layer's output is readable after a replay; else memory is reused.
        block: training steps of one replay, at most.
    """

    images: int
    statistics: Population
    training: bool = False
    update: bool = False
    traced: bool = False
    block: int = 1


@dataclass(frozen=True)
class Position:
    """Position of a training step, from 0, the steps of an epoch, and the run's learning rate at it."""

    step: int
    epoch_steps: int
    rate: float = 0.0


class Program:
    """The calls of one run's pass, in two lists: `forward`, and `backward` with the updates.

    Args:
        network: the network whose layers are executed.
        of: what is computed.
        rows: the run's row of each array: `values`, `moving`, and `grads` or the optimizer's state where it is used.
        pool: temporary arrays by purpose and size, which programs that are replayed one after the other may share.
        seed: the run's seed.
    """

    def __init__(self, network: Network, of: Pass, rows: dict[str, Tensor], pool: Pool, seed: int) -> None:
        self.network, self.of, self.rows, self.pool, self.seed = network, of, rows, pool, seed
        self.run, self.images = network.run, of.images
        self.fast = self.run.precision == "fast" and fast.kind() != "fp32"
        self.slots = {(slot.layer, slot.name): slot for slot in (*network.weights, *network.moving)}
        self.forward: list[Call] = []
        self.backward: list[Call] = []
        self.calls = self.forward
        self.outputs: list[Tensor] = []
        self.gradient = torch.empty(0)  # of the output
        self.used: Counter[int] = Counter()
        self.taken: list[Tensor] = []
        self.free: defaultdict[int, list[Tensor]] = defaultdict(list)
        self.held: list[Array] = []
        self._rates: Tensor | None = None
        self.numbers: list[tuple[Tensor, Callable[[Position], Sequence[float]]]] = []

    def call(self, op: str, sizes: Sequence[int], arrays: Sequence[Array], constants: Sequence[float] = ()) -> None:
        """Append a call of the compiled operation `op_...`."""
        self.calls.append(library.call(op, sizes, arrays, constants))
        self.held += arrays

    def product(self, a: Array, b: Tensor, c: Tensor, transposed: tuple[bool, bool] = (False, False)) -> None:
        """Append C = A B; A and B are transposed where `transposed` says so."""
        of_a = a.array if isinstance(a, EachStep) else a
        (rows, columns), inner = c.shape, b.shape[1] if transposed[1] else b.shape[0]
        sizes = [*map(int, transposed), rows, columns, inner, of_a.stride(-2), b.stride(-2), c.stride(-2)]
        kind, room = self.multiplied(rows, columns, inner)
        self.call(f"product{kind}", sizes, [a, b, c, room])

    def multiplied(self, rows: int, columns: int, inner: int) -> tuple[str, Tensor]:
        """Return how a product of these sizes is computed, the end of its operation's name, and its work space."""
        if self.fast and fast.worth(rows, columns, inner):
            return "_fast", self.work(fast.work(rows, columns))
        return "", self.work(PANEL * (inner + 1))

    def empty(self, *shape: int) -> Tensor:
        """Return a temporary array, of undefined values."""
        size = math.prod(shape)
        if self.free[size]:
            array = self.free[size].pop()
        else:
            ready = self.pool.setdefault(("array", size), [])
            if self.used[size] == len(ready):
                ready.append(torch.empty(size))
            array, self.used[size] = ready[self.used[size]], self.used[size] + 1
        self.taken.append(array)
        return array.view(shape)

    def reuse_all_but(self, needed: Tensor) -> None:
        """Give all temporary arrays but one back, for `empty`: no later call needs their values."""
        for array in self.taken:
            if array.data_ptr() != needed.data_ptr():
                self.free[array.numel()].append(array)
        self.taken = [array for array in self.taken if array.data_ptr() == needed.data_ptr()]

    def work(self, size: int) -> Tensor:
        """Return memory that a call uses only while it is executed."""
        return self.pool.setdefault(("work", size), [torch.empty(size)])[0]

    def constant(self, size: int, value: float) -> Tensor:
        """Return an array that holds one number."""
        return self.pool.setdefault((f"constant {value!r}", size), [torch.full((size,), value)])[0]

    def step_numbers(
        self, width: int, values: Callable[[Position], Sequence[float]], dtype: torch.dtype = torch.float32
    ) -> EachStep:
        """Return an array of numbers that depend on the training step, `values` of its position: see `at`."""
        array = torch.empty(self.of.block, width, dtype=dtype)
        self.numbers.append((array, values))
        return EachStep(array)

    @property
    def step_counter(self) -> EachStep:
        """The number of each step, from 0, as int32: a counter of random numbers."""
        return self.step_numbers(1, lambda at: [at.step], torch.int32)

    def at(self, positions: Sequence[Position]) -> None:
        """Set the numbers that depend on the step, for the steps of the next replay."""
        for array, values in self.numbers:
            array[: len(positions)] = torch.tensor([values(at) for at in positions], dtype=array.dtype)

    def slot(self, layer: int, name: str, of: str = "values") -> Tensor:
        """Return a layer's weights, or its running statistics with `of="moving"`: (rows, columns)."""
        slot = self.slots[layer, name]
        return self.rows[of][slot.start : slot.end].view(-1, slot.shape[-1])

    def learn(self, layer: int, name: str, fill: Callable[[Tensor, slice], None], together: bool = True) -> None:
        """Append the calls that fill a weight's gradient, and its update if the pass has updates.

        Args:
            layer: index of the layer.
            name: of the weight in its layer.
            fill: appends the calls that compute some rows of the gradient into an array.
            together: all rows at once; else in parts of `ROWS_BYTES`, whose updates find them in the cache.
        """
        weight = self.slot(layer, name)
        most = len(weight) if together else max(16, ROWS_BYTES // (4 * weight.shape[1]) // 16 * 16)
        for first in range(0, len(weight), most):
            some = slice(first, min(first + most, len(weight)))
            if self.of.update:
                grads = self.empty(some.stop - first, weight.shape[1])
                fill(grads, some)
                self.update(layer, name, grads, first)
            else:
                fill(self.slot(layer, name, "grads")[some], some)

    def update(self, layer: int, name: str, grads: Tensor, first: int = 0) -> None:
        """Append the optimizer's update of some rows of a layer's weights, by their gradients."""
        start = self.slots[layer, name].start + first * grads.shape[1]
        names = ("values", *OPTIMIZERS[self.run.optimizer][1])
        part = {key: self.rows[key][start : start + grads.numel()] for key in names} | {"grads": grads}
        if name == "weight" and self.run.weight_decay:
            self.call("decay", [grads.numel()], [part["values"], grads], [self.run.weight_decay])
        constants, numbers = UPDATES[self.run.optimizer]
        if self._rates is None:
            self._rates = self.step_numbers(len(numbers(self.run, Position(0, 1))), partial(numbers, self.run)).array
        arrays = [part["values"], part["grads"], *(part[key] for key in names[1:])]
        scalars = [EachStep(self._rates[:, i]) for i in range(self._rates.shape[1])]
        self.call(self.run.optimizer, [grads.numel()], [*arrays, *scalars], constants(self.run))


def _of_adam(run: Run, at: Position) -> tuple[float, float]:
    """Return the learning rate over the first bias correction, and the second one."""
    return at.rate / (1 - updates.power(run.beta1, at.step + 1)), 1 - updates.power(run.beta2, at.step + 1)


# optimizer -> constants of its operation, and its numbers at a step
UPDATES: dict[str, tuple[Callable[[Run], list[float]], Callable[[Run, Position], tuple[float, ...]]]] = {
    "sgd": (lambda run: [run.momentum], lambda _run, at: (at.rate,)),
    "adam": (lambda run: [run.beta1, 1 - run.beta1, run.beta2, 1 - run.beta2, run.adam_epsilon], _of_adam),
}
