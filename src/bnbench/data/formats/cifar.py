"""The batches of CIFAR-10. They are pickles, and are read without running anything that a pickle can ask for.

`pickletools.genops` only splits a pickle into its operations. The few that the published files consist of are
followed here, on plain values: no name is looked up, nothing is called, and any other operation ends the reading.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np

from bnbench.core.errors import DataError, UserError
from bnbench.data.prepared import Arrays, Images, Labels

SHAPE = (3, 32, 32)
TRAIN, TEST, META = tuple(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"
LARGEST = 1 << 26  # bytes of a batch; the published have 31 MB


@dataclass(frozen=True)
class Global:
    """A name that a pickle asks for: kept as text."""

    name: str


class Refused(Exception):
    """Something in a pickle that the published batches do not have."""


RECONSTRUCT, NDARRAY, DTYPE = (
    Global(name) for name in ("numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype")
)
MARK = object()
Stack = list[Any]


def cifar(files: Mapping[str, Path], *_: object) -> Arrays:
    """CIFAR-10: five training batches, the test batch, and `batches.meta` with the names of the classes.

    Raises:
        UserError: other files are declared.
        DataError: a file is not as published: not exactly the operations, keys, types and lengths of a batch.
    """
    paths = {PurePosixPath(name).name: path for name, path in files.items()}
    if set(paths) != {*TRAIN, TEST, META} or len(paths) != len(files):
        raise UserError(
            f"format cifar reads {', '.join(TRAIN)}, {TEST} and {META}; `files` has: {', '.join(files) or 'nothing'}. "
            "An archive that holds them is declared under `archive`"
        )
    names = _meta(paths[META])
    images, labels = zip(*(read_batch(paths[name], len(names)) for name in TRAIN), strict=True)
    test_images, test_labels = read_batch(paths[TEST], len(names))
    about = {"class_names": names}
    return Arrays(np.concatenate(images), np.concatenate(labels), test_images, test_labels, about)


def read_batch(path: Path, classes: int) -> tuple[Images, Labels]:
    """The images, N x 3 x 32 x 32, and labels of a batch.

    Raises:
        DataError: the file is not as the published ones are.
    """
    batch = _plain(path)
    if set(batch) != {"batch_label", "labels", "data", "filenames"} or not isinstance(batch["data"], np.ndarray):
        raise _unlike(path, f"its keys are {sorted(batch)}")
    images, labels = batch["data"], batch["labels"]
    size = 3 * 32 * 32
    if not isinstance(labels, list) or images.shape != (len(labels), size):
        raise _unlike(path, f"its data are {images.shape}, not {size} bytes for each label")
    if not all(type(label) is int and 0 <= label < classes for label in labels):
        raise _unlike(path, f"a label is no number from 0 to {classes - 1}")
    return images.reshape(-1, *SHAPE), np.array(labels, np.int64)


def _meta(path: Path) -> list[str]:
    names = _plain(path).get("label_names")
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise _unlike(path, "it has no list of class names")
    return names


def _plain(path: Path) -> dict[str, Any]:
    """The mapping that a pickle describes.

    Raises:
        DataError: it is something else, or asks for more than plain values and one array of bytes.
    """
    if path.stat().st_size > LARGEST:
        raise _unlike(path, f"it has {path.stat().st_size} bytes")
    try:
        value = unpickled(path.read_bytes())
    except (Refused, ValueError, IndexError, KeyError, TypeError, RecursionError) as error:
        raise _unlike(path, str(error)) from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise _unlike(path, "it is no mapping of names")
    return value


def _unlike(path: Path, what: str) -> DataError:
    return DataError(
        f"{path}: not a published batch of CIFAR-10, so it was not opened further: {what[:200]}; download it again"
    )


def unpickled(content: bytes) -> Any:
    """The value of a pickle that consists of the operations of the published batches alone.

    Raises:
        Refused: any other operation, or one that is used in another way.
        ValueError, IndexError, KeyError, TypeError: the pickle is damaged.
    """
    stack: Stack = []
    memo: dict[int, Any] = {}
    for operation, argument, place in pickletools.genops(content):
        name, memory = operation.name, cast(int, argument)
        if name in VALUES:
            stack.append(VALUES[name](argument))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[memory] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[memory])
        elif name in ACTIONS:
            ACTIONS[name](stack)
        elif name == "STOP":
            return _alone(stack)
        elif name != "PROTO":
            raise Refused(f"the operation {name} at byte {place}")
    raise Refused("it has no end")


def _alone(stack: Stack) -> Any:
    if len(stack) != 1:
        raise Refused(f"{len(stack)} values at its end")
    return stack[0]


def _popped(stack: Stack) -> list[Any]:
    """The values above the last mark, taken off with it."""
    place = next((index for index in reversed(range(len(stack))) if stack[index] is MARK), None)
    if place is None:
        raise Refused("no mark on the stack")
    values = stack[place + 1 :]
    del stack[place:]
    return values


def _tuple(count: int) -> Callable[[Stack], None]:
    def make(stack: Stack) -> None:
        values = tuple(stack[-count:])
        del stack[-count:]
        stack.append(values)

    return make


def _appends(stack: Stack) -> None:
    values = _popped(stack)
    _expect(isinstance(stack[-1], list), "values appended to what is no list")
    stack[-1].extend(values)


def _setitems(stack: Stack) -> None:
    values = _popped(stack)
    _expect(isinstance(stack[-1], dict) and len(values) % 2 == 0, "items set on what is no mapping")
    stack[-1].update(zip(values[::2], values[1::2], strict=True))


def _reduce(stack: Stack) -> None:
    """The published files call two things, each in one way: an empty array, and the type of a byte."""
    arguments, called = stack.pop(), stack.pop()
    if called == RECONSTRUCT:
        _expect(arguments == (NDARRAY, (0,), "b"), f"an array from {arguments!r}")
    else:
        _expect(called == DTYPE and arguments == ("u1", 0, 1), f"a call of {called!r}")
    stack.append(called)


def _build(stack: Stack) -> None:
    """The state of a type is passed over; that of an array is its shape and bytes."""
    state, made = stack.pop(), stack.pop()
    if made == DTYPE:
        stack.append(DTYPE)
        return
    _expect(made == RECONSTRUCT and isinstance(state, tuple) and len(state) == 5, "a state of what is no array")
    _version, shape, kind, fortran, content = state
    _expect(kind == DTYPE and fortran is False and isinstance(content, str), "an array that is not of bytes")
    stack.append(np.frombuffer(content.encode("latin-1"), np.uint8).reshape(shape))


def _expect(true: bool, otherwise: str) -> None:
    if not true:
        raise Refused(otherwise)


# operation -> the value that it puts on the stack, from its argument
VALUES: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("SHORT_BINSTRING", "BINSTRING", "BININT", "BININT1", "BININT2"), lambda argument: argument),
    "GLOBAL": Global,
    "NONE": lambda _: None,
    "NEWFALSE": lambda _: False,
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
    "MARK": lambda _: MARK,
}
# operation -> what it does to the stack
ACTIONS: dict[str, Callable[[Stack], None]] = {
    "TUPLE": lambda stack: stack.append(tuple(_popped(stack))),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "APPENDS": _appends,
    "SETITEMS": _setitems,
    "REDUCE": _reduce,
    "BUILD": _build,
}
