"""How each kind of data set is read: raw files in, images and labels out, or an error that names the file."""

import hashlib
import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from bnbench.core.errors import DataError, UserError
from bnbench.data.containers import BLOCK, DAMAGE, opened
from bnbench.data.formats.cifar import cifar
from bnbench.data.formats.image_folders import folders
from bnbench.data.prepared import Arrays, Images, Labels, Shape

DIGITS_SHA256 = "0b7e9c3202d7bcd255d6a19a238d3743bf5e320ba74812a6679958a017c55382"  # images, then labels
MAGIC = {"images": 0x00000803, "labels": 0x00000801}  # unsigned bytes in three dimensions, in one
LARGEST = 1 << 31  # bytes; MNIST has 47 MB, and a small file can unfold to any size


def digits(files: Mapping[str, Path], *_: object) -> Arrays:
    """The 1797 images, 1 x 8 x 8, of scikit-learn, grey values from 0..16 to 0..255.

    Raises:
        UserError: files are declared.
        DataError: this scikit-learn brings other images.
    """
    from sklearn.datasets import load_digits  # takes a second, and only this format needs it

    if files:
        raise UserError(f"format digits reads no files, but there are {', '.join(files)}; remove `files`")
    bunch = load_digits()
    images = np.rint(bunch.images * 255 / 16).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    seen = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    if seen != DIGITS_SHA256:
        raise DataError(
            f"scikit-learn's digits are not those known: sha256 {seen}, expected {DIGITS_SHA256}; "
            "install the version of scikit-learn that the lock file names"
        )
    return Arrays(images, labels)


def idx(files: Mapping[str, Path], *_: object) -> Arrays:
    """IDX files as MNIST's, compressed or not, known by their names: `train` or `t10k`, `images` or `labels`.

    Raises:
        UserError: not these four files, or the two of `train`.
        DataError: a file breaks the format, or does not fit the others.
    """
    roles = _roles(files)
    images, labels = _read_pair(roles["train", "images"], roles["train", "labels"])
    if len(roles) == 2:
        return Arrays(images, labels)
    test_images, test_labels = _read_pair(roles["t10k", "images"], roles["t10k", "labels"])
    if images.shape[1:] != test_images.shape[1:]:
        raise DataError(
            f"{roles['t10k', 'images']}: images of {test_images.shape[2:]} pixels, "
            f"but {roles['train', 'images']} has {images.shape[2:]}; they must be alike"
        )
    return Arrays(images, labels, test_images, test_labels)


# from the raw files, an image's shape and a number of threads to images and labels
Reader = Callable[[Mapping[str, Path], Shape, int], Arrays]
FORMATS: dict[str, Reader] = {"digits": digits, "idx": idx, "cifar": cifar, "folders": folders}


def _roles(files: Mapping[str, Path]) -> dict[tuple[str, str], Path]:
    """Which file is which: (train or t10k, images or labels) -> path."""
    roles = {
        (part, kind): path
        for part in ("train", "t10k")
        for kind in ("images", "labels")
        for name, path in files.items()
        if part in name and kind in name
    }
    needed = {("train", "images"), ("train", "labels")}
    if not needed <= roles.keys() or len(roles) not in (2, 4) or len(roles) != len(files):
        raise UserError(
            "format idx reads four files, whose names have train or t10k, and images or labels in them "
            f"(the two of t10k may be missing); `files` has: {', '.join(files) or 'nothing'}"
        )
    return roles


def _read_pair(images_path: Path, labels_path: Path) -> tuple[Images, Labels]:
    images, labels = read_idx(images_path, "images"), read_idx(labels_path, "labels")
    if len(images) != len(labels):
        raise DataError(f"{images_path} has {len(images)} images, {labels_path} {len(labels)} labels; not alike")
    return images[:, None], labels.astype(np.int64)


def read_idx(path: Path, kind: str) -> Images:
    """The array of an IDX file of unsigned bytes: N x H x W for images, N for labels.

    Whether it is compressed its first bytes say, whatever its name.

    Raises:
        DataError: another magic number, not exactly the bytes that its header promises, or damaged compression.
    """
    try:
        with opened(path) as file:
            shape = _header(path, file.read(16 if kind == "images" else 8), MAGIC[kind])
            size = math.prod(shape)
            content = _read(file, size + 1)  # one more: it reads to the end, where gzip's own checksum stands
    except DAMAGE as error:
        raise DataError(f"{path}: not whole: {error}") from error
    if len(content) != size:
        seen = f"only {len(content)}" if len(content) < size else "more"
        raise DataError(f"{path}: the header promises {shape}, {size} bytes; there are {seen}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _read(file: IO[bytes], most: int) -> bytearray:
    """At most so many bytes, in blocks: what a header promises is not set aside before it has come."""
    content = bytearray()
    while block := file.read(min(BLOCK, most - len(content))):
        content += block
    return content


def _header(path: Path, header: bytes, magic: int) -> tuple[int, ...]:
    """The shape that an IDX header promises."""
    count = magic & 0xFF
    if len(header) != 4 + 4 * count:
        raise DataError(f"{path}: {len(header)} bytes; an IDX header has {4 + 4 * count}")
    seen, *shape = struct.unpack(f">{1 + count}I", header)
    if seen != magic:
        raise DataError(f"{path}: begins with {seen:#010x}, not with {magic:#010x}; is it another file?")
    if not 0 < math.prod(shape) <= LARGEST:
        raise DataError(f"{path}: the header promises {tuple(shape)}, not between 1 and {LARGEST} bytes")
    return tuple(shape)
