"""The compiled calls of the norms; see `layer_calls`, and the formulas in `training.nets`."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from bnbench.arithmetic.library import Array, EachStep
from bnbench.training.engine.program import Position, Program
from bnbench.training.nets.batch_norms import BatchNorm, PerChannel, Renorm
from bnbench.training.nets.sample_norms import Affine, Group, LocalResponse

Back = Callable[[Tensor, bool], Tensor]


def _channels_last(x: Array) -> tuple[tuple[int, ...], int, int]:
    """Return the shape of an array of one step, its rows and its channels."""
    shape = tuple(x.array.shape[1:] if isinstance(x, EachStep) else x.shape)
    return shape, math.prod(shape[:-1]), shape[-1]


def _affine(program: Program, index: int, layer: Affine) -> list[Tensor]:
    """Return gamma and beta, (C,), learned or constant."""
    return [
        program.slot(index, name) if name in layer.weights else program.constant(layer.channels, layer.fixed[name])
        for name in ("gamma", "beta")
    ]


@dataclass
class _Columns:
    """A norm over a mini-batch that is being recorded: G groups of N rows and C channels."""

    program: Program
    index: int
    layer: PerChannel
    x: Array

    def __post_init__(self) -> None:
        self.shape, rows, self.channels = _channels_last(self.x)
        self.groups = self.layer.parts if self.program.of.training else 1
        self.rows = rows // self.groups
        self.sizes = [self.groups, self.rows, self.channels]
        of = self.program.of
        self.of_batch = of.training or of.statistics == "batch"
        self.gamma, self.beta = _affine(self.program, self.index, self.layer)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Append the calls for mean and variance, (G, C), and return them: the mini-batch's or the population's."""
        program = self.program
        if self.of_batch:
            mean, variance = program.empty(self.groups, self.channels), program.empty(self.groups, self.channels)
            program.call("moments", self.sizes, [self.x, mean, variance])
            return mean, variance
        return self.known("mean"), self.known("variance") if "variance" in self.layer.gathered else self.known("mean")

    def known(self, name: str) -> Tensor:
        """Return a statistic of the population."""
        return self.program.slot(
            self.index, ("last_" if self.program.of.statistics == "last_epoch" else "") + name, "moving"
        )

    def normalise(self, *by: Tensor) -> tuple[Tensor, Tensor]:
        """Append the calls for x^ and y, by mean_GC, scale_GC, gamma_C and beta_C; return both."""
        program = self.program
        y = program.empty(*self.shape)
        normal = program.empty(*self.shape) if program.of.training else y
        program.call("normalise", [*self.sizes, program.of.training, 0], [self.x, *by, normal, y])
        return normal, y

    def gather(self, **statistics: Tensor) -> None:
        """Append the calls that update the running statistics with a mini-batch's, the means over its parts."""
        program, layer = self.program, self.layer
        if not program.of.training:
            return
        for name, each in statistics.items():
            factor = self.rows / (self.rows - 1) if name == "variance" else 1.0
            new = each
            if self.groups > 1:
                new = program.empty(self.channels)
                program.call("column_means", [self.groups, self.channels], [each, new])
            constants = [layer.keep, 1 - layer.keep, factor]
            program.call("running", [self.channels], [new, program.slot(self.index, name, "moving")], constants)
            if layer.by_epoch:
                mean, last = (program.slot(self.index, f"{kind}_{name}", "moving") for kind in ("epoch", "last"))
                arrays: list[Array] = [new, mean, last, program.step_numbers(3, _of_epoch)]
                program.call("running_of_epoch", [self.channels], arrays, [factor])

    def back(self, dy: Tensor, normal: Tensor, factor: Tensor, slopes: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Append the calls of the backward pass; return the sums of dy and of dy x^, (G, C), and dx."""
        program = self.program
        dx, total, along = program.empty(*dy.shape), *(program.empty(self.groups, self.channels) for _ in range(2))
        program.call("normalise_back", [*self.sizes, slopes], [dy, normal, factor, total, along, dx])
        return total, along, dx

    def learn(self, total: Tensor, along: Tensor) -> None:
        """Append the gradients of beta and gamma: the sums over all parts."""
        sizes = [self.groups, self.channels]
        for name, sums in (("beta", total), ("gamma", along)):
            _learn_sums(self.program, self.index, self.layer, name, ("column_sums", sizes, [sums]))


def _learn_sums(
    program: Program, index: int, layer: Affine, name: str, call: tuple[str, list[int], list[Tensor]]
) -> None:
    """Append the gradient of gamma or beta, if it is learned: sums by an operation, its sizes and its arrays."""
    op, sizes, arrays = call
    if name in layer.weights:
        program.learn(index, name, lambda grads, _rows: program.call(op, sizes, [*arrays, grads]))


def _of_epoch(at: Position) -> Sequence[float]:
    """Return the weights of the old and the new value in the mean over the epoch so far, and whether it is copied."""
    step = at.step % at.epoch_steps
    return step / (step + 1), 1 - step / (step + 1), float(at.step < at.epoch_steps or step == at.epoch_steps - 1)


def _scale(program: Program, layer: BatchNorm, variance: Tensor) -> Tensor:
    scale = program.empty(*variance.shape)
    program.call("scale", [variance.numel()], [variance, scale], [layer.epsilon])
    return scale


def _each_group(program: Program, scale: Tensor, row: Tensor) -> Tensor:
    """Append the calls for scale_GC row_C, and return the product."""
    product = program.empty(*scale.shape)
    for of_group, to in zip(scale, product, strict=True):
        program.call("multiply", [to.numel()], [of_group, row, to])
    return product


def batch_norm(program: Program, index: int, layer: BatchNorm, x: Array) -> tuple[Tensor, Back]:
    """Record batch norm, or ghost batch norm with its parts."""
    columns = _Columns(program, index, layer, x)
    mean, variance = columns.statistics()
    scale = _scale(program, layer, variance)
    normal, y = columns.normalise(mean, scale, columns.gamma, columns.beta)
    columns.gather(mean=mean, variance=variance)

    def back(dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG001
        factor = _each_group(program, scale, columns.gamma)
        total, along, dx = columns.back(dy, normal, factor, slopes=True)
        columns.learn(total, along)
        return dx

    return y, back


def center(program: Program, index: int, layer: PerChannel, x: Array) -> tuple[Tensor, Back]:
    """Record the subtraction of the mean."""
    columns = _Columns(program, index, layer, x)
    mean, _ = columns.statistics()
    normal, y = columns.normalise(mean, program.constant(columns.channels, 1.0), columns.gamma, columns.beta)
    columns.gather(mean=mean)

    def back(dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG001
        total, along, dx = columns.back(dy, normal, columns.gamma, slopes=False)
        columns.learn(total, along)
        return dx

    return y, back


def renorm(program: Program, index: int, layer: Renorm, x: Array) -> tuple[Tensor, Back]:
    """Record batch renormalisation; outside training it is batch norm."""
    if not program.of.training:
        return batch_norm(program, index, layer, x)
    columns = _Columns(program, index, layer, x)
    mean, variance = columns.statistics()
    scale, r, d = _scale(program, layer, variance), program.empty(columns.channels), program.empty(columns.channels)
    known = [program.slot(index, name, "moving") for name in ("mean", "variance")]
    arrays: list[Array] = [
        mean,
        variance,
        *known,
        program.step_numbers(3, lambda at: layer.limits(at.step / at.epoch_steps)),
        r,
        d,
    ]
    program.call("renorm_corrections", [columns.channels], arrays, [layer.epsilon])
    normal, corrected = columns.normalise(mean, scale, r, d)
    y = program.empty(*columns.shape)
    program.call("scale_shift", columns.sizes[1:], [corrected, columns.gamma, columns.beta, y])
    columns.gather(mean=mean, variance=variance)

    def back(dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG001
        factor = _each_group(program, _each_group(program, scale, columns.gamma), r)
        total, along, dx = columns.back(dy, normal, factor, slopes=True)
        of_gamma = program.empty(1, columns.channels)
        program.call("sum_of_products", [columns.channels], [along, r, total, d, of_gamma])
        columns.learn(total, of_gamma)
        return dx

    return y, back


def group_norm(program: Program, index: int, layer: Group, x: Array) -> tuple[Tensor, Back]:
    """Record group norm, or layer norm as a single group."""
    shape, rows, channels = _channels_last(x)
    sizes = [shape[0], rows // shape[0], channels, layer.groups]
    gamma, beta = _affine(program, index, layer)
    y, normal, scale = program.empty(*shape), program.empty(*shape), program.empty(shape[0], channels)
    program.call("group_norm", sizes, [x, gamma, beta, normal, y, scale, program.work(2 * channels)], [layer.epsilon])

    def back(dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG001
        dx = program.empty(*dy.shape)
        program.call("group_norm_back", sizes, [dy, normal, gamma, scale, dx, program.work(2 * channels)])
        _learn_sums(program, index, layer, "beta", ("column_sums", [rows, channels], [dy]))
        _learn_sums(program, index, layer, "gamma", ("column_sums_of_products", [rows, channels], [dy, normal]))
        return dx

    return y, back


def local_response(program: Program, _index: int, layer: LocalResponse, x: Array) -> tuple[Tensor, Back]:
    """Record local response normalisation."""
    shape, rows, channels = _channels_last(x)
    sizes, work = [rows, channels, layer.size], program.work(channels + layer.size)
    y, base, factor = (program.empty(*shape) for _ in range(3))
    constants = [layer.alpha / layer.size, layer.beta, layer.k]
    program.call("local_response", sizes, [x, y, base, factor, work], constants)

    def back(dy: Tensor, wanted: bool) -> Tensor:  # noqa: ARG001
        dx, constant = program.empty(*dy.shape), 2 * layer.alpha * layer.beta / layer.size
        program.call("local_response_back", sizes, [dy, x, base, factor, dx, work], [constant])
        return dx

    return y, back
