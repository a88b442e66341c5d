"""Model notation of the literature, parsed into layers: `784-100-10`, `32C5-P2-10D`, `64K-4C3B-256D-10D`."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache


class NotationError(ValueError):
    """A model that cannot be parsed; the message marks the position in the text."""


@dataclass(frozen=True, kw_only=True)
class Conv:
    """Convolution with `kernels` square filters of `size`, stride 1, "same" padding."""

    kernels: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Max pooling over squares of `size` with stride `size`; an incomplete square at the edge is left out."""

    size: int


@dataclass(frozen=True, kw_only=True)
class Dense:
    """Fully connected layer of `units`."""

    units: int


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Dropout with probability `rate`."""

    rate: float


@dataclass(frozen=True)
class Lrn:
    """Local response normalisation across the channels of an image."""


Layer = Conv | Pool | Dense | Drop | Lrn
Shape = tuple[int, int, int]  # channels, height, width
MAX_SIZE = 100_000  # units, kernels, ...


@dataclass(frozen=True)
class Model:
    """A parsed model.

    Attributes:
        layers: the last one is the output layer.
        inputs: the input width, if the text begins with one (dense nets).
        places: position in the text of each layer.
    """

    layers: tuple[Layer, ...]
    inputs: int | None
    places: tuple[int, ...] = ()


@dataclass(frozen=True)
class Placed:
    """A layer of a model with the shapes of one image's input and output; a dense layer's output is (units, 1, 1)."""

    layer: Layer
    input: Shape
    output: Shape

    @property
    def values(self) -> int:
        """Count of the output's values."""
        return math.prod(self.output)

    @property
    def weights(self) -> int:
        """Count of the learned weights of a conv or dense layer, without biases."""
        if isinstance(self.layer, Conv):
            return self.input[0] * self.layer.size**2 * self.layer.kernels
        return math.prod(self.input) * self.layer.units if isinstance(self.layer, Dense) else 0

    @property
    def multiplications(self) -> int:
        """Count of the multiplications by its weights in a forward pass."""
        _, height, width = self.output
        return self.weights * height * width


def trace(model: Model, shape: Shape) -> list[Placed]:
    """Return every layer with the shapes of its input and output, for images of `shape`."""
    placed = []
    for layer in model.layers:
        placed.append(Placed(layer, shape, _output(layer, shape)))
        shape = placed[-1].output
    return placed


def _output(layer: Layer, shape: Shape) -> Shape:
    channels, height, width = shape
    if isinstance(layer, Conv):
        return layer.kernels, height, width
    if isinstance(layer, Pool):
        return channels, height // layer.size, width // layer.size
    return (layer.units, 1, 1) if isinstance(layer, Dense) else shape


def _blocks(match: re.Match[str], width: int) -> list[Layer]:
    """Expand `nCmB` after `wK`: m times n 3x3 conv layers and a 2x2 pool; w filters, doubled from block to block."""
    convs, blocks = int(match[1]), int(match[2])
    layers: list[Layer] = []
    for block in range(blocks):
        layers += [Conv(kernels=width * 2**block, size=3)] * convs + [Pool(size=2)]
    return layers


# token -> its layers; `width` is the number before the last K
TOKENS: dict[str, Callable[[re.Match[str], int], list[Layer]]] = {
    r"(\d+)C(\d*[13579])": lambda m, _: [Conv(kernels=int(m[1]), size=int(m[2]))],
    r"P(\d+)": lambda m, _: [Pool(size=int(m[1]))],
    r"(\d+)D?": lambda m, _: [Dense(units=int(m[1]))],
    r"Dropout(0?\.\d+)": lambda m, _: [Drop(rate=float(m[1]))],
    r"LRN": lambda _match, _width: [Lrn()],
    r"(\d{1,2})C(\d{1,2})B": _blocks,
}


@cache
def parse(text: str) -> Model:
    """Parse a model's notation.

    Raises:
        NotationError: an unknown token, a size of 0, `nCmB` without `wK`, a conv layer after a dense one, or no
            dense layer at the end.
    """
    layers: list[Layer] = []
    places: list[int] = []
    width = position = 0
    first = re.fullmatch(r"(\d+)", text.split("-", 1)[0], re.ASCII)
    flat = bool(first)
    for index, token in enumerate(text.split("-")):
        if re.fullmatch("|".join([*TOKENS, r"\d+K"]), token, re.ASCII):
            _check_sizes(text, token, position)
        if match := re.fullmatch(r"(\d+)K", token, re.ASCII):
            width = int(match[1])
        elif index or not first:
            made = _layers(text, token, position, width)
            if flat and isinstance(made[0], Conv | Pool | Lrn):
                raise _marked(text, position, "a conv layer, a pool or LRN takes images, so it comes before any width")
            flat = flat or isinstance(made[0], Dense)
            layers += made
            places += [position] * len(made)
        position += len(token) + 1
    if not layers or not isinstance(layers[-1], Dense):
        raise _marked(text, len(text), "a model ends with a dense layer, as in `-10D` or `-10`")
    return Model(tuple(layers), int(first[1]) if first else None, tuple(places))


def _check_sizes(text: str, token: str, position: int) -> None:
    """Refuse a size of 0 or above the limit, and leading zeros, which would give one model two names."""
    for number in re.findall(r"(?<![\d.])\d+(?![\d.])", token, re.ASCII):
        if number[0] == "0":
            raise _marked(text, position, "a size of 0" if not number.strip("0") else "a size with a leading 0")
        if len(number) > len(str(MAX_SIZE)) or int(number) > MAX_SIZE:
            raise _marked(text, position, f"a size above {MAX_SIZE}")


def _layers(text: str, token: str, position: int, width: int) -> list[Layer]:
    for pattern, build in TOKENS.items():
        if match := re.fullmatch(pattern, token, re.ASCII):
            if build is _blocks and not width:
                raise _marked(text, position, "blocks need a number of kernels before them, as in `64K-4C3B`")
            return build(match, width)
    known = "784 (width), 32C5 (kernels C odd size), P2 (pool), 256D (dense), Dropout0.5, LRN, 64K-4C3B (blocks)"
    raise _marked(text, position, f"{token!r} is no layer; known are {known}")


def _marked(text: str, position: int, problem: str) -> NotationError:
    shown = re.sub(r"[^ -~]", "?", text)  # one character each, so that the mark is below the right one
    return NotationError(f"{problem}\n    {shown}\n    {' ' * position}^ here")


def check(text: str, shape: Shape, classes: int) -> Model:
    """Parse a model and check that its input is images of `shape` and its output `classes`.

    Raises:
        NotationError: also for a wrong input width, a pool whose output is empty, or a wrong number of outputs.
    """
    model = parse(text)
    channels, height, width = shape
    pixels = channels * height * width
    if model.inputs is not None and model.inputs != pixels:
        raise _marked(text, 0, f"images of {channels}x{height}x{width} have {pixels} inputs, not {model.inputs}")
    for row, place in zip(trace(model, shape), model.places, strict=True):
        if not row.values:
            raise _marked(text, place, f"its pools reduce an image of {height}x{width} to nothing")
    last = model.layers[-1]
    if isinstance(last, Dense) and last.units != classes:
        raise _marked(text, model.places[-1], f"the data set has {classes} classes, the model {last.units} outputs")
    return model


def convolutional(model: Model) -> bool:
    """Return whether the model has a conv layer."""
    return any(isinstance(layer, Conv) for layer in model.layers)


def kind(text: str) -> str:
    """Return the name of a model's kind in tables: its blocks (`4C3B`), else `conv` or `dense`."""
    blocks = re.search(r"\d+C\d+B", text)
    if blocks:
        return blocks[0]
    return "conv" if convolutional(parse(text)) else "dense"
