"""Random geometric augmentation (flip, rotation, translation), precomputed as copies or resampled every epoch.

The transform of an image is drawn from a seed, coordinates (the copy or the epoch) and the image's number, so it
depends on neither the mini-batch nor the pack that the image is in. PyTorch's `grid_sample` resamples the pixels.
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
from bnbench.data.random_streams import uniform as drawn
from bnbench.params.dataset_schema import Augmentation, Dataset

COEFFICIENTS = 6  # of an affine transform
CHUNK = 1 << 24  # pixels of all channels transformed at a time: 64 MB
SHEET_IMAGES, SHEET_COLUMNS = 6, 6


def draw(seed: int, coordinates: tuple[int, ...], definition: Augmentation, shape: tuple[int, ...]) -> Tensor:
    """Draw one affine transform for each of N x C x H x W images: (N, COEFFICIENTS), float32.

    The output pixel at (column, row) from the centre is sampled at (a column + b row + c, d column + e row + f), in
    units of half the width and half the height: the inverse of flip, then rotation, then translation.

    Args:
        seed: the seed of the stream.
        coordinates: the copy; or the seed of the definition and the epoch.
        definition: the ranges.
        shape: N, C, H, W.
    """
    images, _, height, width = shape
    uniform = drawn(seed, "augmentation", coordinates, (images, 4)).double()
    angle, right, down = (2 * uniform[:, :3] - 1).unbind(1)
    angle, right, down = angle * torch.pi * definition.rotate / 180, right * definition.shift, down * definition.shift
    cos, sin = angle.cos(), angle.sin()
    a, b, c = cos, sin, -cos * right * width - sin * down * height
    d, e, f = -sin, cos, sin * right * width - cos * down * height
    side = torch.where(uniform[:, 3] < 0.5, -1.0, 1.0) if definition.flip else torch.ones(())
    return torch.stack([*(x * side * 2 / width for x in (a, b, c)), *(x * 2 / height for x in (d, e, f))], 1).float()


def transform(x: Tensor, transforms: Tensor) -> Tensor:
    """Apply one affine transform to each image x_NHWC: bilinear interpolation, border pixels repeated outside.

    Args:
        x: images, float32.
        transforms: (N, COEFFICIENTS), as `draw` returns them.
    """
    height, width = x.shape[1:3]
    column = torch.arange(width, device=x.device) - (width - 1) / 2
    row = (torch.arange(height, device=x.device) - (height - 1) / 2)[:, None]
    # sums instead of a matrix product, the last bits of which might depend on the number of images
    a, b, c, d, e, f = transforms[..., None, None].unbind(1)
    grid = torch.stack([a * column + b * row + c, d * column + e * row + f], -1)
    sampled = grid_sample(x.movedim(-1, 1), grid, "bilinear", "border", align_corners=False)
    return sampled.movedim(1, -1).contiguous()


def transformed(images: Images, transforms: Tensor) -> Images:
    """Return transformed copies of images, uint8, N x C x H x W, with pixels rounded to integers."""
    out = np.empty_like(images)
    size = max(1, CHUNK // images[0].size)
    for first in range(0, len(images), size):
        chunk = slice(first, first + size)
        x = torch.from_numpy(images[chunk]).movedim(1, -1).float()
        out[chunk] = transform(x, transforms[chunk]).round().clamp(0, 255).byte().movedim(-1, 1).numpy()
    return out


def copies(images: Images, definition: Augmentation) -> Images:
    """Return all transformed copies of the static form: (times - 1) x N x C x H x W, uint8."""
    numbers = range(1, definition.times)
    return np.stack([transformed(images, draw(definition.seed, (i,), definition, images.shape)) for i in numbers])


def online(seed: int, definition: Augmentation, epoch: int, shape: tuple[int, ...]) -> Tensor:
    """Draw the transforms of the online form for one epoch of a run with this seed: (N, COEFFICIENTS)."""
    return draw(seed, (definition.seed, epoch), definition, shape)


def sheet(prepared: Prepared, definition: Augmentation, versions: Images | None) -> Images:
    """Return the contact sheet: a few training images, each followed by its transformed versions.

    Args:
        prepared: the data.
        definition: the augmentation.
        versions: the copies of the static form; None: sample those of the first epochs of a run with seed 0.
    """
    shape = prepared.train.images.shape
    images = prepared.train.images[:SHEET_IMAGES]
    if versions is None:
        epochs = [online(0, definition, epoch, shape)[: len(images)] for epoch in range(SHEET_COLUMNS)]
        versions = np.stack([transformed(images, transforms) for transforms in epochs])
    return np.stack([images, *versions[:SHEET_COLUMNS, : len(images)]], axis=1)


def augment(dataset: Dataset, definition: Augmentation, folder: Path, out: Path) -> dict[str, Any]:
    """Write the copies, the contact sheet and their manifest into folder `out`, and return the manifest.

    Args:
        dataset: the data set's declaration.
        definition: the augmentation.
        folder: the prepared data.
        out: the destination; one that is already complete is verified and left unchanged.

    Raises:
        UserError: other data in `folder`, another augmentation in `out`, or an `out` that is named after another.
        DataError: prepared data that were altered.
        SystemFault: `out` cannot be written.
    """
    prepared = Prepared.read(folder)
    wanted = fingerprint(dataset)
    if prepared.fingerprint != wanted:
        raise UserError(
            f"{folder} holds data with fingerprint {prepared.fingerprint}, not {wanted}; prepare them again"
        )
    identity = augmented_fingerprint(dataset, definition)
    check_key(out, identity, "this augmentation of these data")
    if filled(out):
        return _existing(out, identity)
    with locks.all_of([locks.of(out)]):  # a second process waits here, and then finds the augmentation complete
        return _existing(out, identity) if filled(out) else _write(prepared, definition, identity, out)


def _write(prepared: Prepared, definition: Augmentation, identity: str, out: Path) -> dict[str, Any]:
    made = None if definition.copies == "online" else copies(prepared.train.images, definition)
    arrays = {data.SHEET: sheet(prepared, definition, made)} | ({} if made is None else {data.COPIES: made})
    with atomic_folder(out) as temporary:
        manifest: dict[str, Any] = {"fingerprint": identity, "augmentation": definition.model_dump()}
        manifest |= {"name": prepared.name, "data": prepared.fingerprint, "files": {}}
        for name, array in arrays.items():
            manifest["files"][name] = data.save(temporary / name, array)
        write_json(temporary / MANIFEST, seal(manifest))
    return read_manifest(out, AugmentedManifest)


def _existing(out: Path, identity: str) -> dict[str, Any]:
    """Verify an augmentation that is already in `out` and return its manifest."""
    if not (out / MANIFEST).is_file():
        raise UserError(f"{out} holds something other than an augmentation; delete it, or name another folder")
    actual = Augmented.read(out).fingerprint
    if actual != identity:
        raise UserError(
            f"{out} holds an augmentation with fingerprint {actual}, not {identity}; delete it, or name another folder"
        )
    return read_manifest(out, AugmentedManifest)
