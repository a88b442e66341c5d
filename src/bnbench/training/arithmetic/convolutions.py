"""Convolution of many runs, a table of forms with one signature; on a GPU the fastest for a shape is measured once.

Stride 1, "same" padding; x_RNHWC, kernels_RKSSC (S rows and columns of a kernel), y_RNHWK. The forms differ in
time and in rounding.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from bnbench.core.atomic import cache_folder
from bnbench.core.files import read_json, write_json
from bnbench.training.arithmetic import gpu
from bnbench.training.arithmetic.matmul import multiply, product

Kept = Tensor


@dataclass(frozen=True)
class Form:
    """A way to convolve.

    Attributes:
        forward: x and kernels to y, and what `backward` needs of x.
        backward: (dy, kept, kernels, dkernels, wanted) to dx, or dy itself if it is not wanted; fills `dkernels`.
    """

    forward: Callable[[Tensor, Tensor], tuple[Tensor, Kept]]
    backward: Callable[[Tensor, Kept, Tensor, Tensor, bool], Tensor]


def nchw(x: Tensor) -> Tensor:
    """x_R...HWC seen as x_R...CHW: torch's "channels last", without a copy."""
    return x.movedim(-1, -3)


def _empty(like: Tensor, *shape: int) -> Tensor:
    """Room for a result: fp32 of bf16 factors."""
    return like.new_empty(shape, dtype=torch.promote_types(like.dtype, torch.float32))


def _slopes(dy: Tensor, x: Tensor, kernels: Tensor, groups: int, wanted: bool) -> tuple[Tensor, Tensor]:
    """Gradients of input (if `wanted`) and kernels, all in torch's order of axes."""
    pads = [kernels.shape[-1] // 2] * 2
    fixed = [1, 1], pads, [1, 1], False, [0, 0], groups, [wanted, True, False]
    into, weight, _ = torch.ops.aten.convolution_backward(dy, x, kernels, None, *fixed)
    return into, weight


def _looped(x: Tensor, kernels: Tensor) -> tuple[Tensor, Kept]:
    y = _empty(x, *x.shape[:4], kernels.shape[1])
    with gpu.beside(x) as at:
        for r, (one, of) in enumerate(zip(nchw(x), nchw(kernels), strict=True)):
            with at(r):
                y[r].copy_(F.conv2d(one, of, padding=kernels.shape[2] // 2).permute(0, 2, 3, 1))
    return y, x


def _looped_back(dy: Tensor, x: Tensor, kernels: Tensor, dkernels: Tensor, wanted: bool) -> Tensor:
    dx = _empty(dy, *x.shape) if wanted else dy
    slopes, images, weights = nchw(dy), nchw(x), nchw(kernels)
    with gpu.beside(dy) as at:
        for r in range(len(dy)):
            with at(r):
                into, weight = _slopes(slopes[r], images[r], weights[r], 1, wanted)
                dkernels[r].copy_(weight.permute(0, 2, 3, 1))
                if wanted:
                    dx[r].copy_(into.permute(0, 2, 3, 1))
    return dx


def _grouped(x: Tensor, kernels: Tensor) -> tuple[Tensor, Kept]:
    """The runs' channels side by side, as groups of one convolution."""
    beside = _aside(x)
    y = F.conv2d(beside, nchw(kernels.flatten(0, 1)), padding=kernels.shape[2] // 2, groups=len(x))
    return _apart(y, len(x)), beside


def _grouped_back(dy: Tensor, beside: Kept, kernels: Tensor, dkernels: Tensor, wanted: bool) -> Tensor:
    into, weight = _slopes(_aside(dy), beside, nchw(kernels.flatten(0, 1)), len(dy), wanted)
    dkernels.copy_(weight.movedim(1, -1).view_as(dkernels))
    return _apart(into, len(dy)) if wanted else dy


def _aside(x: Tensor) -> Tensor:
    """x_RNHWC as (N, R C, H, W), channels last."""
    return x.permute(1, 2, 3, 0, 4).flatten(3).movedim(-1, 1)


def _apart(x: Tensor, runs: int) -> Tensor:
    """The reverse of `_aside`."""
    each = x.movedim(1, -1).unflatten(-1, (runs, -1)).movedim(-2, 0)
    return _empty(x, *each.shape).copy_(each)


def _unfolded(x: Tensor, kernels: Tensor) -> tuple[Tensor, Kept]:
    """Products of matrices: the squares around the pixels times the kernels."""
    columns = _unfold(x, kernels.shape[2])
    return product(columns, kernels.flatten(2).transpose(1, 2)).view(*x.shape[:4], -1), columns


def _unfolded_back(dy: Tensor, columns: Kept, kernels: Tensor, dkernels: Tensor, wanted: bool) -> Tensor:
    dy_RMK = dy.flatten(1, 3)
    if dkernels.dtype == dy.dtype:
        multiply(dy_RMK.transpose(1, 2), columns, dkernels.flatten(2))
    else:
        dkernels.copy_(product(dy_RMK.transpose(1, 2), columns).view_as(dkernels))
    if not wanted:
        return dy
    return _fold(product(dy_RMK, kernels.flatten(2)), (*dy.shape[:4], kernels.shape[-1]), kernels.shape[2])


def _unfold(x: Tensor, size: int) -> Tensor:
    """x_RNHWC -> (R, N H W, size size C): the square around each pixel, zero outside the image."""
    pad = size // 2
    padded = F.pad(x, (0, 0, pad, pad, pad, pad))
    runs, images, row, column, channel = padded.stride()
    shape = (*x.shape[:4], size, size, x.shape[4])
    squares = padded.as_strided(shape, (runs, images, row, column, row, column, channel))
    return squares.reshape(x.shape[0], -1, size * size * x.shape[4])


def _fold(columns: Tensor, shape: tuple[int, ...], size: int) -> Tensor:
    """The transpose of `_unfold`: what each square says of a pixel, summed."""
    runs, images, height, width, channels = shape
    pad = size // 2
    out = _empty(columns, runs, images, height + 2 * pad, width + 2 * pad, channels).zero_()
    squares = columns.view(runs, images, height, width, size, size, channels)
    for i in range(size):
        for j in range(size):
            out[:, :, i : i + height, j : j + width] += squares[:, :, :, :, i, j]
    return out[:, :, pad : pad + height, pad : pad + width].contiguous()


FORMS = {
    "looped": Form(_looped, _looped_back),  # on a GPU in parallel streams
    "grouped": Form(_grouped, _grouped_back),
    "unfolded": Form(_unfolded, _unfolded_back),
}
WARM, REPLAYS, TIMES = 3, 5, 5
UNFOLDED = 1 / 64  # of a GPU's memory, at most, in a layer's unfolded input
CHOSEN: dict[str, str] = {}  # by this process: GPU, torch, type and shapes -> form


def fastest(x: Tensor, kernels: Tensor) -> str:
    """The form that convolves such arrays soonest on their GPU: measured once, and kept in the user's cache."""
    about = torch.cuda.get_device_name(x.device), torch.__version__, str(x.dtype), *x.shape, *kernels.shape
    key = " ".join(map(str, about))
    if key not in CHOSEN:
        path = cache_folder() / "convolutions.json"
        found = _read(path).get(key)
        if not (isinstance(found, str) and found in FORMS):
            times = {name: milliseconds(FORMS[name], x, kernels) for name in _able(x, kernels)}
            found = min(times, key=lambda name: times[name])  # the first where none can be measured
            write_json(path, _read(path) | {key: found})
        CHOSEN[key] = found
    return CHOSEN[key]


def _able(x: Tensor, kernels: Tensor) -> list[str]:
    """The forms that leave room for the other layers: what is unfolded stays until it has gone backward."""
    unfolded = x.numel() * kernels[0, 0, ..., 0].numel() * x.element_size()
    return [name for name in FORMS if name != "unfolded" or unfolded <= UNFOLDED * gpu.memory(x.device)]


def _read(path: Path) -> dict[str, str]:
    """What is kept; nothing where the file is not there or damaged."""
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError):
        return {}


def milliseconds(form: Form, x: Tensor, kernels: Tensor) -> float:
    """Median time of forward and backward within a graph; infinite where the GPU's memory does not suffice."""
    dkernels = kernels.new_empty(kernels.shape, dtype=torch.promote_types(kernels.dtype, torch.float32))

    def work() -> None:
        y, kept = form.forward(x, kernels)
        form.backward(y.to(x.dtype), kept, kernels, dkernels, True)

    try:
        graph = gpu.warmed(work, gpu.stream(x.device, "measure"), WARM)
    except (torch.OutOfMemoryError, gpu.Unrecorded):
        return math.inf
    return statistics.median(gpu.milliseconds(lambda: _replay(graph), x.device) for _ in range(TIMES)) / REPLAYS


def _replay(graph: torch.cuda.CUDAGraph) -> None:
    for _ in range(REPLAYS):
        graph.replay()
