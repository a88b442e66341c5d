"""A list of compiled calls that executes one run's pass through its network, recorded layer by layer."""

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from bnbench.params.run_schema import Run
from bnbench.training.arithmetic import calls, matmul, products
from bnbench.training.arithmetic.calls import Array, Call, EachStep
from bnbench.training.nets.network import Network
from bnbench.training.pack.optimizers import OPTIMIZERS


class Program:
    """The calls of one run's pass, and the arrays that they point to.

    Args:
        network: the network whose layers are executed.
        run: the run's settings.
        images: images at a time.
        rows: the run's row of each of the pack's arrays; for training also `rates` and `corrections` of the steps.
        pool: temporary arrays by size, shared with the other runs of a pack, which are executed one by one.
    """

    def __init__(
        self, network: Network, run: Run, images: int, rows: dict[str, Tensor], pool: dict[int, list[Tensor]]
    ) -> None:
        self.network, self.run, self.images, self.rows, self.pool = network, run, images, rows, pool
        self.fast = matmul.products(run, "cpu") == "bf16"
        self.slots = {(slot.layer, slot.name): slot for slot in (*network.weights, *network.moving)}
        self.rounded = False  # whether factors of products are rounded to bf16
        self.calls: list[Call] = []
        self.held: list[Array] = []
        self.used: Counter[int] = Counter()

    @property
    def training(self) -> bool:
        """Return whether the pass is a training step."""
        return "rates" in self.rows

    def call(self, op: str, sizes: Sequence[int], arrays: Sequence[Array], constants: Sequence[float] = ()) -> None:
        """Append a call of the compiled function `op_...`."""
        self.calls.append(calls.call(op, sizes, arrays, constants))
        self.held += arrays

    def product(
        self, a: Array, b: Tensor, c: Tensor, transposed: tuple[bool, bool] = (False, False), add: bool = False
    ) -> None:
        """Append C = A B, or C += A B; A and B are transposed where `transposed` says so."""
        if self.rounded:
            n = products.sizes(a, b, c, transposed)
            pairs = [self.empty((n[4] + 1) // 2, -(-columns // 16) * 16) for columns in (*c.shape, c.shape[1])]
            self.call("rounded_product", n, [a, b, c, *pairs], [add])
        else:
            self.calls.append(products.product(a, b, c, transposed, add))
            self.held += (a, b, c)

    def empty(self, *shape: int) -> Tensor:
        """Return a temporary array, of undefined values."""
        size = math.prod(shape)
        ready = self.pool.setdefault(size, [])
        if self.used[size] == len(ready):
            ready.append(torch.empty(size))
        self.used[size] += 1
        return ready[self.used[size] - 1].view(shape)

    def slot(self, layer: int, name: str, of: str = "values") -> Tensor:
        """Return a layer's weights, or its running statistics with `of="moving"`: (rows, columns)."""
        slot = self.slots[layer, name]
        return self.rows[of][slot.start : slot.end].view(slot.shape)

    def update(self, layer: int, name: str, grads: Tensor, first: int = 0) -> None:
        """Append the optimiser's update of a layer's weights from a row on, by their gradients."""
        slot = self.slots[layer, name]
        start = slot.start + first * slot.shape[1]
        end = start + grads.numel()
        part = {key: self.rows[key][start:end] for key in ("values", *OPTIMIZERS[self.run.optimizer][1])}
        if self.run.weight_decay and name == "weight":
            self.call("decay", [end - start], [part["values"], grads], [self.run.weight_decay])
        UPDATES[self.run.optimizer](self, part | {"grads": grads})


def _sgd(program: Program, part: dict[str, Tensor]) -> None:
    rates = EachStep(program.rows["rates"])
    arrays: list[Array] = [rates, part["values"], part["grads"], part["velocity"]]
    program.call("sgd", [len(part["values"]), bool(program.run.momentum)], arrays, [program.run.momentum])


def _adam(program: Program, part: dict[str, Tensor]) -> None:
    run = program.run
    arrays: list[Array] = [EachStep(program.rows[name]) for name in ("rates", "corrections")]
    arrays += [part[name] for name in ("values", "grads", "mean", "square")]
    constants = [run.beta1, 1 - run.beta1, run.beta2, 1 - run.beta2, run.adam_epsilon]
    program.call("quick_adam" if program.fast else "adam", [len(part["values"])], arrays, constants)


UPDATES = {"sgd": _sgd, "adam": _adam}
