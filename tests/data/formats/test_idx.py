"""IDX files: intact files written byte by byte, and damaged ones."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from bnbench.core.errors import DataError
from bnbench.data.formats import idx

NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
PIXELS = bytes(range(24))


def pack(magic: int, shape: tuple[int, ...], content: bytes) -> bytes:
    return gzip.compress(struct.pack(f">{1 + len(shape)}I", magic, *shape) + content)


def write_four(folder: Path) -> dict[str, Path]:
    """Write four training and two test images of 2 x 3 pixels."""
    contents = (
        pack(2051, (4, 2, 3), PIXELS),
        pack(2049, (4,), bytes([3, 1, 0, 255])),
        pack(2051, (2, 2, 3), PIXELS[:12]),
        pack(2049, (2,), bytes([1, 2])),
    )
    for name, content in zip(NAMES, contents, strict=True):
        (folder / name).write_bytes(content)
    return {name: folder / name for name in NAMES}


def test_pixels_and_labels_are_the_bytes_of_the_files(tmp_path: Path) -> None:
    images, labels, test_images, test_labels, _ = idx.read(write_four(tmp_path))
    assert images.dtype == np.uint8
    assert images.shape == (4, 1, 2, 3)
    assert images.tobytes() == PIXELS
    assert labels.dtype == np.int64
    assert labels.tolist() == [3, 1, 0, 255]
    assert test_images is not None
    assert test_labels is not None
    assert (test_images.shape, test_labels.tolist()) == ((2, 1, 2, 3), [1, 2])


def test_without_files_of_a_test_set_there_is_none(tmp_path: Path) -> None:
    files = write_four(tmp_path)
    assert idx.read({name: files[name] for name in NAMES[:2]})[2:4] == (None, None)


INTACT = pack(2051, (4, 2, 3), PIXELS)
FLIPPED = bytearray(INTACT)
FLIPPED[-6] ^= 1  # in gzip's checksum
IMAGE_FAULTS = {
    "other magic": (pack(2049, (4, 2, 3), PIXELS), "starts with 0x00000801, not with 0x00000803"),
    "a byte missing": (pack(2051, (4, 2, 3), PIXELS[:-1]), "24 bytes; there are only 23"),
    "a byte too many": (pack(2051, (4, 2, 3), PIXELS + b"!"), "24 bytes; there are more"),
    "half a header": (gzip.compress(b"\0\0\x08\x03\0\0"), "6 bytes; an IDX header has 16"),
    "empty": (b"", "0 bytes; an IDX header has 16"),
    "no images": (pack(2051, (0, 2, 3), b""), "not between 1 and"),
    "too large": (pack(2051, (2**32 - 1,) * 3, PIXELS), "not between 1 and"),
    "not gzip": (b"<html>log in</html>", "starts with 0x3c68746d, not with 0x00000803"),
    "truncated": (INTACT[:-9], "incomplete or damaged: "),
    "a flipped bit": (bytes(FLIPPED), "incomplete or damaged: "),
    "rubbish at the end": (INTACT + b"rubbish", "incomplete or damaged: "),
}


@pytest.mark.parametrize("fault", IMAGE_FAULTS)
def test_a_damaged_file_is_refused_with_its_name_and_the_fault(tmp_path: Path, fault: str) -> None:
    content, message = IMAGE_FAULTS[fault]
    path = tmp_path / "train-images.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        idx.read_file(path, "images")
    assert str(path) in str(caught.value)


def test_unequal_numbers_of_images_and_labels_are_refused(tmp_path: Path) -> None:
    files = write_four(tmp_path)
    files[NAMES[1]].write_bytes(pack(2049, (3,), bytes(3)))
    with pytest.raises(DataError, match=r"has 4 images, .* has 3 labels"):
        idx.read(files)


def test_training_and_test_images_of_unequal_shapes_are_refused(tmp_path: Path) -> None:
    files = write_four(tmp_path)
    files[NAMES[2]].write_bytes(pack(2051, (2, 3, 2), PIXELS[:12]))
    with pytest.raises(DataError, match=r"images of \(3, 2\) pixels"):
        idx.read(files)
