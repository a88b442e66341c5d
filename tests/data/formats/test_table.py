"""Each format against files written here, byte by byte, and against what damage does to them."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from bnbench.core.errors import DataError, UserError
from bnbench.data.formats.table import digits, idx, read_idx

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
    """Four training and two test images of 2 x 3 pixels."""
    contents = (
        pack(2051, (4, 2, 3), PIXELS),
        pack(2049, (4,), bytes([3, 1, 0, 255])),
        pack(2051, (2, 2, 3), PIXELS[:12]),
        pack(2049, (2,), bytes([1, 2])),
    )
    for name, content in zip(NAMES, contents, strict=True):
        (folder / name).write_bytes(content)
    return {name: folder / name for name in NAMES}


def test_digits_are_scikit_learns_images_scaled_to_bytes() -> None:
    images, labels, *official, about = digits({})
    assert (str(images.dtype), images.shape, str(labels.dtype)) == ("uint8", (1797, 1, 8, 8), "int64")
    scaled = [round(int(value) * 255 / 16) for value in load_digits().images.ravel()]
    assert images.ravel().tolist() == scaled
    assert (images.min(), images.max()) == (0, 255)
    assert (official, about) == ([None, None], {})


def test_digits_take_no_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="remove `files`"):
        digits({"a.gz": tmp_path})


def test_changed_digits_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    altered = load_digits()
    altered.images[5, 3, 3] += 1
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda: altered)
    with pytest.raises(DataError, match="not those known: sha256"):
        digits({})


def test_idx_gives_the_bytes_that_were_written(tmp_path: Path) -> None:
    images, labels, test_images, test_labels, _ = idx(write_four(tmp_path))
    assert images.dtype == np.uint8
    assert images.shape == (4, 1, 2, 3)
    assert images.tobytes() == PIXELS
    assert labels.dtype == np.int64
    assert labels.tolist() == [3, 1, 0, 255]
    assert test_images is not None
    assert test_labels is not None
    assert (test_images.shape, test_labels.tolist()) == ((2, 1, 2, 3), [1, 2])


def test_idx_without_a_test_set_has_none(tmp_path: Path) -> None:
    files = write_four(tmp_path)
    assert idx({name: files[name] for name in NAMES[:2]})[2:4] == (None, None)


@pytest.mark.parametrize("kept", [(), (0,), (0, 2), (0, 1, 2), (1, 2, 3)])
def test_idx_names_the_files_that_it_needs(tmp_path: Path, kept: tuple[int, ...]) -> None:
    files = write_four(tmp_path)
    with pytest.raises(UserError, match="format idx reads four files"):
        idx({NAMES[index]: files[NAMES[index]] for index in kept})


def test_idx_refuses_a_file_without_a_role(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"notes\.txt"):
        idx(write_four(tmp_path) | {"notes.txt": tmp_path})


whole = pack(2051, (4, 2, 3), PIXELS)
flipped = bytearray(whole)
flipped[-6] ^= 1  # in gzip's own checksum
IMAGE_FAULTS = {
    "other magic": (pack(2049, (4, 2, 3), PIXELS), "begins with 0x00000801, not with 0x00000803"),
    "a byte missing": (pack(2051, (4, 2, 3), PIXELS[:-1]), "24 bytes; there are only 23"),
    "a byte too many": (pack(2051, (4, 2, 3), PIXELS + b"!"), "24 bytes; there are more"),
    "half a header": (gzip.compress(b"\0\0\x08\x03\0\0"), "6 bytes; an IDX header has 16"),
    "empty": (b"", "0 bytes; an IDX header has 16"),
    "no images": (pack(2051, (0, 2, 3), b""), "not between 1 and"),
    "too large": (pack(2051, (2**32 - 1,) * 3, PIXELS), "not between 1 and"),
    "not gzip": (b"<html>log in</html>", "begins with 0x3c68746d, not with 0x00000803"),
    "truncated": (whole[:-9], "not whole: "),
    "a flipped bit": (bytes(flipped), "not whole: "),
    "rubbish at the end": (whole + b"rubbish", "not whole: "),
}


@pytest.mark.parametrize("fault", IMAGE_FAULTS)
def test_a_damaged_file_is_named_with_what_was_seen(tmp_path: Path, fault: str) -> None:
    content, message = IMAGE_FAULTS[fault]
    path = tmp_path / "train-images.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path, "images")
    assert str(path) in str(caught.value)


def test_as_many_labels_as_images(tmp_path: Path) -> None:
    files = write_four(tmp_path)
    files[NAMES[1]].write_bytes(pack(2049, (3,), bytes(3)))
    with pytest.raises(DataError, match=r"has 4 images, .* 3 labels"):
        idx(files)


def test_training_and_test_images_have_one_shape(tmp_path: Path) -> None:
    files = write_four(tmp_path)
    files[NAMES[2]].write_bytes(pack(2051, (2, 3, 2), PIXELS[:12]))
    with pytest.raises(DataError, match=r"images of \(3, 2\) pixels"):
        idx(files)
