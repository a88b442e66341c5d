"""Rasterisation of drawn strokes, and their conversion to images in the form of a data set.

`Ink` is an image (H, W) of 0 (paper) to 255 (ink). `FORMS` has one conversion for each shape of a data set's images.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

Ink = NDArray[np.uint8]
Stroke = Sequence[tuple[float, float]]  # points (x, y) from the upper left corner; the paper's side has length 1

# Width of the pen relative to the drawing's larger side. With it ten drawn digits have as much ink as images of
# MNIST, whose pixels (0 to 1) sum to 103 on average.
PEN = 0.15
SIDE = 800  # pixels of the drawing's larger side: 40 to one of MNIST's

# Limits of one drawing; a hand draws about a hundred points a second, and may leave the paper.
MOST_POINTS = 20_000
FARTHEST = 100  # sides of the paper

# Share of ink in the 32 x 32 bitmaps behind scikit-learn's 1,797 digits, on average. The mean of each class is
# between 0.296 and 0.322, so the thickness of strokes was normalised.
SHARE = 0.305


def strokes_of(sent: object) -> list[Stroke]:
    """Validate the page's message, `{"strokes": [[[x, y], ...], ...]}`; the list may be empty.

    Raises:
        ValueError: the message has another form, or is beyond the limits; the text is for the person who draws.
    """
    strokes = sent.get("strokes") if isinstance(sent, dict) else None
    if not isinstance(strokes, list) or not all(isinstance(stroke, list) and stroke for stroke in strokes):
        raise ValueError("it has no list of strokes, each with a point or more")
    if (count := sum(map(len, strokes))) > MOST_POINTS:
        raise ValueError(f"it has {count} points; at most {MOST_POINTS} are drawn, so clear the paper")
    if not all(_is_point(point) for stroke in strokes for point in stroke):
        raise ValueError(f"a point is not two numbers from -{FARTHEST} to {FARTHEST}, in sides of the paper")
    return strokes


def _is_point(point: object) -> bool:
    return (
        isinstance(point, list)
        and len(point) == 2
        and all(type(x) in (int, float) and -FARTHEST <= x <= FARTHEST for x in point)  # false for NaN
    )


def drawn(strokes: Sequence[Stroke]) -> Ink:
    """Draw strokes with a round pen; a stroke of one point is a dot.

    The pen's width is proportional to the drawing's size, because all drawings are scaled to one size later.

    Raises:
        ValueError: there are no strokes.
    """
    points = np.array([point for stroke in strokes for point in stroke])
    if not points.size:
        raise ValueError("there is no ink on the paper")
    low = points.min(0)
    scale = SIDE / max(float(np.ptp(points, 0).max()), PEN)
    pen = PEN * SIDE
    paper = Image.new("L", (round(SIDE + 2 * pen),) * 2)
    draw = ImageDraw.Draw(paper)
    for stroke in strokes:
        line = [(float(x), float(y)) for x, y in (np.array(stroke) - low) * scale + pen]
        draw.line(line, fill=255, width=round(pen))
        for x, y in line:
            draw.circle((x, y), pen / 2, fill=255)
    ink: Ink = np.asarray(paper)
    return ink


def as_mnist(ink: Ink) -> Ink:
    """Convert a drawing to the form of MNIST: (28, 28), 255 is ink.

    "Size normalized to fit in a 20x20 pixel box while preserving their aspect ratio. The resulting images contain
    grey levels as a result of the anti-aliasing technique used by the normalization algorithm. The images were
    centered in a 28x28 image by computing the center of mass of the pixels, and translating the image so as to
    position this point at the center" (LeCun, Cortes, Burges, yann.lecun.com/exdb/mnist). Ink that would
    leave the image by that is shifted back.
    """
    box = _cut(ink)
    scale = 20 / max(box.shape)
    small = _resized(box, max(1, round(box.shape[0] * scale)), max(1, round(box.shape[1] * scale)))
    field = np.zeros((28, 28), np.uint8)
    middle = ndimage.center_of_mass(small)
    top, left = (min(max(round(14 - at), 0), 28 - size) for at, size in zip(middle, small.shape, strict=True))
    field[top : top + small.shape[0], left : left + small.shape[1]] = small
    return field


def as_digits(ink: Ink) -> Ink:
    """Convert a drawing to the form of scikit-learn's digits: (8, 8), 255 is a cell full of ink.

    "Preprocessing programs made available by NIST to extract normalized bitmaps ... 32x32 bitmaps are divided into
    nonoverlapping blocks of 4x4 and the number of on pixels are counted in each block" (Alpaydin, Kaynak, Optical
    Recognition of Handwritten Digits, UCI, 1998). Of that normalisation (Garris et al., NISTIR 5469, 1994) this
    reproduces what the images show: 32 pixels high, at most 20 wide, centred, strokes thickened or thinned until
    `SHARE` of the bitmap is ink.
    """
    box = _cut(ink)
    width = min(20, max(1, round(box.shape[1] * 32 / box.shape[0])))
    bitmap = np.zeros((32, 32), bool)
    left = (32 - width) // 2
    bitmap[:, left : left + width] = _resized(box, 32, width) > 127
    counts = _normalised(bitmap).reshape(8, 4, 8, 4).sum((1, 3))
    image: Ink = np.round(counts * (255 / 16)).astype(np.uint8)
    return image


FORMS: dict[tuple[int, ...], Callable[[Ink], Ink]] = {(1, 28, 28): as_mnist, (1, 8, 8): as_digits}


def _cut(ink: Ink) -> Ink:
    """Crop to the bounding box of the ink.

    Raises:
        ValueError: there is no ink.
    """
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    if not len(rows):
        raise ValueError("there is no ink on the paper")
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _resized(ink: Ink, height: int, width: int) -> Ink:
    """Resize with a box filter: each pixel is the mean of the area that it covers."""
    smaller: Ink = np.asarray(Image.fromarray(ink).resize((width, height), Image.Resampling.BOX))
    return smaller


def _normalised(bitmap: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Dilate or erode by one pixel at a time, as long as that brings the share of ink nearer to `SHARE`."""
    change = ndimage.binary_dilation if bitmap.mean() < SHARE else ndimage.binary_erosion
    while abs((new := change(bitmap)).mean() - SHARE) < abs(bitmap.mean() - SHARE):
        bitmap = new
    return bitmap
