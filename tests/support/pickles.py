"""Batches of CIFAR-10 as Python 2 pickled them, written opcode by opcode."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bnbench.data.prepared import Images
from bnbench.params.formats import CIFAR_META, CIFAR_TEST, CIFAR_TRAIN

NAMES = ("airplane", "cat", "dog")
FOLDER = "cifar-10-batches-py"


def text(value: str) -> bytes:
    """Return a pickled byte string: U and one byte of length, or T and four."""
    content = value.encode("latin-1")
    return (b"U" + bytes([len(content)]) if len(content) < 256 else b"T" + struct.pack("<i", len(content))) + content


def number(value: int) -> bytes:
    """Return a pickled integer in one, two or four bytes."""
    if value < 256:
        return b"K" + bytes([value])
    return b"M" + struct.pack("<H", value) if value < 65536 else b"J" + struct.pack("<i", value)


def listed(items: Sequence[bytes]) -> bytes:
    """Return a pickled list."""
    return b"](" + b"".join(items) + b"e"


def array(images: Images, kind: str = "u1") -> bytes:
    """Return a pickled byte array, N x anything, in numpy's format; type and shape are memoised on first use."""
    made = b"cnumpy.core.multiarray\n_reconstruct\nq\x06(cnumpy\nndarray\nq\x07K\x00\x85q\x08U\x01btq\x09Rq\x0a"
    dtype = (
        b"cnumpy\ndtype\nq\x0b"
        + text(kind)
        + b"K\x00K\x01\x87q\x0cRq\x0d(K\x03U\x01|NNN"
        + (b"J" + b"\xff" * 4) * 2
        + b"K\x00tb"
    )
    shape = number(len(images)) + number(images[0].size) + b"\x86q\x0e"
    return made + b"(K\x01" + shape + dtype + b"\x89" + text(images.tobytes().decode("latin-1")) + b"tq\x0fb"


def mapping(items: dict[str, bytes]) -> bytes:
    """Return a complete pickle of one mapping."""
    return b"\x80\x02}q\x01(" + b"".join(text(key) + value for key, value in items.items()) + b"u."


def batch(images: Images, labels: Sequence[int]) -> bytes:
    """Return a pickled batch with the four published keys."""
    names = listed([text(f"{i}.png") for i in range(len(labels))])
    return mapping(
        {
            "batch_label": text("a batch"),
            "labels": listed(list(map(number, labels))),
            "data": array(images),
            "filenames": names,
        }
    )


def images_of(n: int, seed: int) -> Images:
    """Return random images of CIFAR's size."""
    return np.random.RandomState(seed).randint(0, 256, (n, 3, 32, 32)).astype(np.uint8)


def contents() -> dict[str, bytes]:
    """Return the seven files, each with six images of three classes."""
    files = {
        name: batch(images_of(6, seed), [0, 1, 2, 0, 1, 2]) for seed, name in enumerate((*CIFAR_TRAIN, CIFAR_TEST))
    }
    meta = {"num_cases_per_batch": number(6), "label_names": listed(list(map(text, NAMES))), "num_vis": number(3072)}
    return files | {CIFAR_META: mapping(meta)}


def write(folder: Path) -> dict[str, Path]:
    """Write the seven files to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents().items():
        (folder / name).write_bytes(content)
    return {f"{FOLDER}/{name}": folder / name for name in contents()}
