"""IDX files, the format of MNIST: a magic number, the shape, then unsigned bytes; plain or compressed."""

import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from bnbench.core.errors import DataError
from bnbench.data.containers import BLOCK, DAMAGE, opened
from bnbench.data.prepared import Arrays, Images, Labels
from bnbench.params.formats import idx_roles

MAGIC = {"images": 0x00000803, "labels": 0x00000801}  # unsigned bytes in three dimensions, in one
LARGEST = 1 << 31  # bytes; MNIST has 47 MB, but a small file can decompress to any size


def read(files: Mapping[str, Path], *_: object) -> Arrays:
    """Return the images and labels of the training set and, where its two files are declared, of the test set.

    Args:
        files: paths by name; `train` or `t10k` and `images` or `labels` in a name tell the files apart.

    Raises:
        DataError: a file breaks the format or contradicts another one.
    """
    roles = {role: files[name] for role, name in idx_roles(files).items()}
    images, labels = _read_pair(roles["train", "images"], roles["train", "labels"])
    if len(roles) == 2:
        return Arrays(images, labels)
    test_images, test_labels = _read_pair(roles["t10k", "images"], roles["t10k", "labels"])
    if images.shape[1:] != test_images.shape[1:]:
        raise DataError(
            f"{roles['t10k', 'images']}: images of {test_images.shape[2:]} pixels, "
            f"but {roles['train', 'images']} has {images.shape[2:]}; they must be equal"
        )
    return Arrays(images, labels, test_images, test_labels)


def _read_pair(images_path: Path, labels_path: Path) -> tuple[Images, Labels]:
    """Return images, N x 1 x H x W, and their N labels."""
    images, labels = read_file(images_path, "images"), read_file(labels_path, "labels")
    if len(images) != len(labels):
        raise DataError(f"{images_path} has {len(images)} images, but {labels_path} has {len(labels)} labels")
    return images[:, None], labels.astype(np.int64)


def read_file(path: Path, kind: str) -> Images:
    """Return the array of an IDX file of unsigned bytes: N x H x W for images, N for labels.

    Compression is detected from the first bytes, not from the name.

    Raises:
        DataError: another magic number, not exactly the bytes that the header announces, or damaged compression.
    """
    try:
        with opened(path) as file:
            shape = _shape(path, file.read(16 if kind == "images" else 8), MAGIC[kind])
            size = math.prod(shape)
            content = _read_at_most(file, size + 1)  # one more: reads to the end, where gzip's own checksum stands
    except DAMAGE as error:
        raise DataError(f"{path}: incomplete or damaged: {error}") from error
    if len(content) != size:
        actual = f"only {len(content)}" if len(content) < size else "more"
        raise DataError(f"{path}: the header announces {shape}, {size} bytes; there are {actual}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _read_at_most(file: IO[bytes], limit: int) -> bytearray:
    """Read up to `limit` bytes in blocks, so that a header cannot cause memory to be allocated for missing bytes."""
    content = bytearray()
    while block := file.read(min(BLOCK, limit - len(content))):
        content += block
    return content


def _shape(path: Path, header: bytes, magic: int) -> tuple[int, ...]:
    """Return the shape that an IDX header announces."""
    dimensions = magic & 0xFF
    if len(header) != 4 + 4 * dimensions:
        raise DataError(f"{path}: {len(header)} bytes; an IDX header has {4 + 4 * dimensions}")
    actual, *shape = struct.unpack(f">{1 + dimensions}I", header)
    if actual != magic:
        raise DataError(f"{path}: starts with {actual:#010x}, not with {magic:#010x}; is it another file?")
    if not 0 < math.prod(shape) <= LARGEST:
        raise DataError(f"{path}: the header announces {tuple(shape)}, not between 1 and {LARGEST} bytes")
    return tuple(shape)
