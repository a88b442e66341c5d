"""Training images moved at random: flipped, turned, shifted. Written once as copies, or afresh in each epoch.

Each image's move is drawn from a seed, a place (the copy or the epoch) and the image's number, so it depends on
neither the batch nor the pack that the image is in. PyTorch's `grid_sample` does the geometry.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from bnbench.core import locks
from bnbench.core.atomic import atomic_folder, filled
from bnbench.core.errors import UserError
from bnbench.core.files import write_json
from bnbench.data import prepared as data
from bnbench.data.identity import augmented_fingerprint, check_key, fingerprint
from bnbench.data.manifest import MANIFEST, AugmentedManifest, read_manifest, seal
from bnbench.data.prepared import Augmented, Images, Prepared
from bnbench.data.random_streams import generator
from bnbench.params.dataset_schema import Augmentation, Dataset

COEFFICIENTS = 6  # of a move: the place, in columns and rows, that a pixel comes from
CHUNK = 1 << 24  # pixels of all channels moved at a time: 64 MB
SHEET_IMAGES, SHEET_COLUMNS = 6, 6


def draw(seed: int, place: tuple[int, ...], definition: Augmentation, shape: tuple[int, ...]) -> Tensor:
    """The moves of N x C x H x W images: (N, COEFFICIENTS).

    A pixel at (column, row) from the centre comes from (a column + b row + c, d column + e row + f), in halves of
    the width and of the height: shifted back, turned back, flipped back.
    """
    images, _, height, width = shape
    uniform = torch.rand(images, 4, generator=generator(seed, "augmentation", *place), dtype=torch.float64)
    angle, right, down = (2 * uniform[:, :3] - 1).unbind(1)
    angle, right, down = angle * torch.pi * definition.rotate / 180, right * definition.shift, down * definition.shift
    cos, sin = angle.cos(), angle.sin()
    a, b, c = cos, sin, -cos * right * width - sin * down * height
    d, e, f = -sin, cos, sin * right * width - cos * down * height
    side = torch.where(uniform[:, 3] < 0.5, -1.0, 1.0) if definition.flip else torch.ones(())
    return torch.stack([*(x * side * 2 / width for x in (a, b, c)), *(x * 2 / height for x in (d, e, f))], 1).float()


def move(x: Tensor, moves: Tensor) -> Tensor:
    """Images x_NHWC, each moved by its row of `moves`, (N, COEFFICIENTS).

    Pixels between pixels are bilinear; those from beyond the border are the border's.
    """
    height, width = x.shape[1:3]
    column = torch.arange(width, device=x.device) - (width - 1) / 2
    row = (torch.arange(height, device=x.device) - (height - 1) / 2)[:, None]
    # a sum after a sum, and no matrix product, whose last bits might depend on how many images there are
    a, b, c, d, e, f = moves[..., None, None].unbind(1)
    grid = torch.stack([a * column + b * row + c, d * column + e * row + f], -1)
    moved = grid_sample(x.movedim(-1, 1), grid, "bilinear", "border", align_corners=False)
    return moved.movedim(1, -1).contiguous()


def copied(images: Images, moves: Tensor) -> Images:
    """Moved copies of images, uint8, N x C x H x W; pixels are rounded."""
    out = np.empty_like(images)
    size = max(1, CHUNK // images[0].size)
    for first in range(0, len(images), size):
        part = slice(first, first + size)
        x = torch.from_numpy(images[part]).movedim(1, -1).float()
        out[part] = move(x, moves[part]).round().clamp(0, 255).byte().movedim(-1, 1).numpy()
    return out


def copies(images: Images, definition: Augmentation) -> Images:
    """All the copies of the static form: k - 1 x N x C x H x W."""
    places = range(1, definition.times)
    return np.stack([copied(images, draw(definition.seed, (i,), definition, images.shape)) for i in places])


def sheet(prepared: Prepared, definition: Augmentation, made: Images | None) -> Images:
    """A few training images, each with what becomes of it: its copies, or the epochs of a run of seed 0."""
    shape = prepared.train.images.shape
    images = prepared.train.images[:SHEET_IMAGES]
    if made is None:
        moves = [online(0, definition, epoch, shape)[: len(images)] for epoch in range(SHEET_COLUMNS)]
        made = np.stack([copied(images, part) for part in moves])
    return np.stack([images, *made[:SHEET_COLUMNS, : len(images)]], axis=1)


def online(seed: int, definition: Augmentation, epoch: int, shape: tuple[int, ...]) -> Tensor:
    """The moves of the online form in one epoch of a run of this seed."""
    return draw(seed, (definition.seed, epoch), definition, shape)


def augment(dataset: Dataset, definition: Augmentation, folder: Path, out: Path) -> dict[str, Any]:
    """Write the copies, the contact sheet and their manifest into folder `out`; returns the manifest.

    Args:
        dataset: the data set's declaration.
        definition: the augmentation.
        folder: the prepared data.
        out: a new folder; an augmentation that is there already is checked and left.

    Raises:
        UserError: other data in `folder`, another augmentation in `out`, or an `out` that is named after another.
        DataError: prepared data that were altered.
        SystemFault: `out` cannot be written.
    """
    prepared = Prepared.read(folder)
    wanted = fingerprint(dataset)
    if prepared.fingerprint != wanted:
        raise UserError(f"{folder} holds data with fingerprint {prepared.fingerprint}, not {wanted}; prepare them anew")
    identity = augmented_fingerprint(dataset, definition)
    check_key(out, identity, "this augmentation of these data")
    if filled(out):
        return _already(out, identity)
    with locks.all_of([locks.of(out)]):  # of two processes the second waits, and finds the images there
        return _already(out, identity) if filled(out) else _made(prepared, definition, identity, out)


def _made(prepared: Prepared, definition: Augmentation, identity: str, out: Path) -> dict[str, Any]:
    made = None if definition.copies == "online" else copies(prepared.train.images, definition)
    arrays = {data.SHEET: sheet(prepared, definition, made)} | ({} if made is None else {data.COPIES: made})
    with atomic_folder(out) as temporary:
        manifest: dict[str, Any] = {"fingerprint": identity, "augmentation": definition.model_dump()}
        manifest |= {"name": prepared.name, "data": prepared.fingerprint, "files": {}}
        for name, array in arrays.items():
            manifest["files"][name] = data.save(temporary / name, array)
        write_json(temporary / MANIFEST, seal(manifest))
    return read_manifest(out, AugmentedManifest)


def _already(out: Path, identity: str) -> dict[str, Any]:
    if not (out / MANIFEST).is_file():
        raise UserError(f"{out} holds something else than an augmentation; delete it, or name another folder")
    seen = Augmented.read(out).fingerprint
    if seen != identity:
        raise UserError(
            f"{out} holds an augmentation with fingerprint {seen}, not {identity}; delete it, or name another"
        )
    return read_manifest(out, AugmentedManifest)
