"""Convolutions of many runs: a table of forms with one signature; on a GPU the fastest for a shape is measured once.

Stride 1, "same" padding; x_RNHWC, filters_RKSSC (K filters of S x S pixels), y_RNHWK. The forms differ in speed and in
rounding.
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
from bnbench.training.kernels import gpu
from bnbench.training.kernels.matmul import multiply, product

Saved = Tensor  # what the backward pass needs of x


@dataclass(frozen=True)
class Form:
    """A form of convolution: forward and backward pass.

    Attributes:
        forward: (x, filters) -> (y, saved).
        backward: (dy, saved, filters, dfilters, wanted) -> dx, or dy itself if dx is not wanted; fills `dfilters`.
    """

    forward: Callable[[Tensor, Tensor], tuple[Tensor, Saved]]
    backward: Callable[[Tensor, Saved, Tensor, Tensor, bool], Tensor]


def nchw(x: Tensor) -> Tensor:
    """Return x_R...HWC as a view x_R...CHW: torch's "channels last" format."""
    return x.movedim(-1, -3)


def _empty(like: Tensor, *shape: int) -> Tensor:
    """Return an empty array for a result: fp32 for bf16 factors."""
    return like.new_empty(shape, dtype=torch.promote_types(like.dtype, torch.float32))


def _gradients(dy: Tensor, x: Tensor, filters: Tensor, groups: int, wanted: bool) -> tuple[Tensor, Tensor]:
    """Return the gradients of the input (if `wanted`) and of the filters, all with torch's order of axes."""
    pads = [filters.shape[-1] // 2] * 2
    fixed = [1, 1], pads, [1, 1], False, [0, 0], groups, [wanted, True, False]
    into, weight, _ = torch.ops.aten.convolution_backward(dy, x, filters, None, *fixed)
    return into, weight


def _looped(x: Tensor, filters: Tensor) -> tuple[Tensor, Saved]:
    y = _empty(x, *x.shape[:4], filters.shape[1])
    with gpu.beside(x) as at:
        for r, (one, of) in enumerate(zip(nchw(x), nchw(filters), strict=True)):
            with at(r):
                y[r].copy_(F.conv2d(one, of, padding=filters.shape[2] // 2).permute(0, 2, 3, 1))
    return y, x


def _looped_back(dy: Tensor, x: Tensor, filters: Tensor, dfilters: Tensor, wanted: bool) -> Tensor:
    dx = _empty(dy, *x.shape) if wanted else dy
    gradients, images, weights = nchw(dy), nchw(x), nchw(filters)
    with gpu.beside(dy) as at:
        for r in range(len(dy)):
            with at(r):
                into, weight = _gradients(gradients[r], images[r], weights[r], 1, wanted)
                dfilters[r].copy_(weight.permute(0, 2, 3, 1))
                if wanted:
                    dx[r].copy_(into.permute(0, 2, 3, 1))
    return dx


def _grouped(x: Tensor, filters: Tensor) -> tuple[Tensor, Saved]:
    """Convolve the channels of all runs as groups of one convolution."""
    joined = _join_channels(x)
    y = F.conv2d(joined, nchw(filters.flatten(0, 1)), padding=filters.shape[2] // 2, groups=len(x))
    return _split_channels(y, len(x)), joined


def _grouped_back(dy: Tensor, joined: Saved, filters: Tensor, dfilters: Tensor, wanted: bool) -> Tensor:
    into, weight = _gradients(_join_channels(dy), joined, nchw(filters.flatten(0, 1)), len(dy), wanted)
    dfilters.copy_(weight.movedim(1, -1).view_as(dfilters))
    return _split_channels(into, len(dy)) if wanted else dy


def _join_channels(x: Tensor) -> Tensor:
    """Return x_RNHWC as (N, R C, H, W), channels last."""
    return x.permute(1, 2, 3, 0, 4).flatten(3).movedim(-1, 1)


def _split_channels(x: Tensor, runs: int) -> Tensor:
    """Return the inverse of `_join_channels`."""
    each = x.movedim(1, -1).unflatten(-1, (runs, -1)).movedim(-2, 0)
    return _empty(x, *each.shape).copy_(each)


def _unfolded(x: Tensor, filters: Tensor) -> tuple[Tensor, Saved]:
    """Multiply the unfolded input, a patch per pixel, by the filters."""
    columns = _unfold(x, filters.shape[2])
    return product(columns, filters.flatten(2).transpose(1, 2)).view(*x.shape[:4], -1), columns


def _unfolded_back(dy: Tensor, columns: Saved, filters: Tensor, dfilters: Tensor, wanted: bool) -> Tensor:
    dy_RMK = dy.flatten(1, 3)
    if dfilters.dtype == dy.dtype:
        multiply(dy_RMK.transpose(1, 2), columns, dfilters.flatten(2))
    else:
        dfilters.copy_(product(dy_RMK.transpose(1, 2), columns).view_as(dfilters))
    if not wanted:
        return dy
    return _fold(product(dy_RMK, filters.flatten(2)), (*dy.shape[:4], filters.shape[-1]), filters.shape[2])


def _unfold(x: Tensor, size: int) -> Tensor:
    """Return the patch around each pixel, (R, N H W, size size C), zero outside the image."""
    pad = size // 2
    padded = F.pad(x, (0, 0, pad, pad, pad, pad))
    runs, images, row, column, channel = padded.stride()
    shape = (*x.shape[:4], size, size, x.shape[4])
    patches = padded.as_strided(shape, (runs, images, row, column, row, column, channel))
    return patches.reshape(x.shape[0], -1, size * size * x.shape[4])


def _fold(columns: Tensor, shape: tuple[int, ...], size: int) -> Tensor:
    """Return the transpose of `_unfold`: for each pixel the sum over the patches that contain it."""
    runs, images, height, width, channels = shape
    pad = size // 2
    out = _empty(columns, runs, images, height + 2 * pad, width + 2 * pad, channels).zero_()
    patches = columns.view(runs, images, height, width, size, size, channels)
    for i in range(size):
        for j in range(size):
            out[:, :, i : i + height, j : j + width] += patches[:, :, :, :, i, j]
    return out[:, :, pad : pad + height, pad : pad + width].contiguous()


FORMS = {
    "looped": Form(_looped, _looped_back),  # on a GPU in parallel streams
    "grouped": Form(_grouped, _grouped_back),
    "unfolded": Form(_unfolded, _unfolded_back),
}
WARM, REPLAYS, TIMES = 3, 5, 5
UNFOLDED = 1 / 64  # largest share of a GPU's memory for a layer's unfolded input
CHOSEN: dict[str, str] = {}  # measured or read by this process: GPU, torch, type and shapes -> form


def fastest(x: Tensor, filters: Tensor) -> str:
    """Return the fastest form for such arrays on their GPU: measured once, and saved in the user's cache."""
    about = torch.cuda.get_device_name(x.device), torch.__version__, str(x.dtype), *x.shape, *filters.shape
    key = " ".join(map(str, about))
    if key not in CHOSEN:
        path = cache_folder() / "convolutions.json"
        found = _read(path).get(key)
        if not (isinstance(found, str) and found in FORMS):
            times = {name: milliseconds(FORMS[name], x, filters) for name in _affordable(x, filters)}
            found = min(times, key=lambda name: times[name])  # the first one if none can be measured
            write_json(path, _read(path) | {key: found})
        CHOSEN[key] = found
    return CHOSEN[key]


def _affordable(x: Tensor, filters: Tensor) -> list[str]:
    """Return the forms whose memory is affordable: an unfolded input stays until the backward pass."""
    unfolded = x.numel() * filters[0, 0, ..., 0].numel() * x.element_size()
    return [name for name in FORMS if name != "unfolded" or unfolded <= UNFOLDED * gpu.memory(x.device)]


def _read(path: Path) -> dict[str, str]:
    """Read the saved choices; none if the file is missing or damaged."""
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError):
        return {}


def milliseconds(form: Form, x: Tensor, filters: Tensor) -> float:
    """Return the median time of forward and backward pass in a graph; infinite if the GPU has too little memory."""
    dfilters = filters.new_empty(filters.shape, dtype=torch.promote_types(filters.dtype, torch.float32))

    def work() -> None:
        y, saved = form.forward(x, filters)
        form.backward(y.to(x.dtype), saved, filters, dfilters, True)

    try:
        graph = gpu.warmed(work, gpu.stream(x.device, "measure"), WARM)
    except (torch.OutOfMemoryError, gpu.Unrecorded):
        return math.inf
    return statistics.median(gpu.milliseconds(lambda: _replay(graph), x.device) for _ in range(TIMES)) / REPLAYS


def _replay(graph: torch.cuda.CUDAGraph) -> None:
    for _ in range(REPLAYS):
        graph.replay()
