"""The batches of CIFAR-10: pickles of Python 2, unpickled without running anything that a pickle can ask for.

Two allow lists: of the pickle operations that the published files consist of, and of the three NumPy names that they
use, each replaced by a stand-in that accepts only the published arguments. NumPy itself is never called by a pickle.
"""

import io
import pickle
import pickletools
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bnbench.core.errors import DataError
from bnbench.data.prepared import Arrays, Images, Labels
from bnbench.params.formats import CIFAR_META, CIFAR_TEST, CIFAR_TRAIN

SHAPE = (3, 32, 32)
LARGEST = 1 << 26  # bytes of a batch; the published ones have 31 MB
OPERATIONS = {
    *("PROTO", "STOP", "GLOBAL", "REDUCE", "BUILD", "MARK", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
    *("SHORT_BINSTRING", "BINSTRING", "BININT", "BININT1", "BININT2", "NONE", "NEWFALSE"),
    *("EMPTY_LIST", "APPENDS", "EMPTY_DICT", "SETITEMS", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
}


class Refused(Exception):
    """Content of a pickle that the published batches do not have."""


class _Dtype:
    """Stand-in for `numpy.dtype`: unsigned bytes alone. Its state (byte order, alignment) is ignored."""

    def __init__(self, *arguments: object) -> None:
        _require(arguments == ("u1", 0, 1), "a type other than bytes")

    def __setstate__(self, _state: object) -> None: ...


class _Array:
    """Stand-in for the array that `numpy.core.multiarray._reconstruct` makes: empty, then filled by its state."""

    pixels: Images | None = None

    def __init__(self, *arguments: object) -> None:
        _require(arguments == (NDARRAY, (0,), "b"), "another construction of an array")

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, fortran, content = state
        _require(isinstance(dtype, _Dtype) and fortran is False, "an array that is not of bytes")
        self.pixels = np.frombuffer(content.encode("latin-1"), np.uint8).reshape(shape)


NDARRAY = "numpy.ndarray"  # an argument only, never called
NAMES = {("numpy.core.multiarray", "_reconstruct"): _Array, ("numpy", "ndarray"): NDARRAY, ("numpy", "dtype"): _Dtype}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        _require((module, name) in NAMES, f"the name {module}.{name}")
        return NAMES[module, name]


def unpickled(content: bytes) -> Any:
    """Return the value of a pickle that has only the operations and names of the published batches.

    Checking the operations first also bounds memory: `genops` refuses strings that are longer than the file, and the
    unpickler would allocate its memo up to the largest index.

    Raises:
        Refused: any other operation or name, or one with other arguments.
        Exception: the pickle is damaged; unpickling can raise almost any exception.
    """
    for operation, argument, position in pickletools.genops(content):
        _require(operation.name in OPERATIONS, f"the operation {operation.name} at byte {position}")
        if isinstance(argument, int) and operation.name.endswith("PUT"):
            _require(argument <= len(content), f"the memo index {argument}")
    value = _Unpickler(io.BytesIO(content), encoding="latin-1").load()
    if isinstance(value, dict):
        return {key: item.pixels if isinstance(item, _Array) else item for key, item in value.items()}
    return value


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Refused(otherwise)


def read(files: Mapping[str, Path], *_: object) -> Arrays:
    """Return the images and labels of the five training batches and of the test batch, and the names of the classes.

    Raises:
        DataError: a file is not as published: not exactly the operations, keys, types and lengths of a batch.
    """
    paths = {PurePosixPath(name).name: path for name, path in files.items()}
    names = _class_names(paths[CIFAR_META])
    images, labels = zip(*(read_batch(paths[name], len(names)) for name in CIFAR_TRAIN), strict=True)
    test_images, test_labels = read_batch(paths[CIFAR_TEST], len(names))
    about = {"class_names": names}
    return Arrays(np.concatenate(images), np.concatenate(labels), test_images, test_labels, about)


def read_batch(path: Path, classes: int) -> tuple[Images, Labels]:
    """Return the images, N x 3 x 32 x 32, and the N labels of a batch.

    Raises:
        DataError: the file is not as the published ones are.
    """
    batch = _mapping(path)
    if set(batch) != {"batch_label", "labels", "data", "filenames"} or not isinstance(batch["data"], np.ndarray):
        raise _unlike(path, f"its keys are {sorted(batch)}")
    images, labels = batch["data"], batch["labels"]
    size = 3 * 32 * 32
    if not isinstance(labels, list) or images.shape != (len(labels), size):
        raise _unlike(path, f"its data are {images.shape}, not {size} bytes for each label")
    if not all(type(label) is int and 0 <= label < classes for label in labels):
        raise _unlike(path, f"a label is not a number from 0 to {classes - 1}")
    return images.reshape(-1, *SHAPE), np.array(labels, np.int64)


def _class_names(path: Path) -> list[str]:
    names = _mapping(path).get("label_names")
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise _unlike(path, "it has no list of class names")
    return names


def _mapping(path: Path) -> dict[str, Any]:
    """Return the mapping that a file pickles.

    Raises:
        DataError: anything else, or more than plain values and one array of bytes.
    """
    if path.stat().st_size > LARGEST:
        raise _unlike(path, f"it has {path.stat().st_size} bytes")
    try:
        value = unpickled(path.read_bytes())
    except Exception as error:
        raise _unlike(path, str(error)) from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise _unlike(path, "it is not a mapping of names")
    return value


def _unlike(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path}: not a published batch of CIFAR-10, so it was rejected: {reason[:200]}; download it again"
    )
