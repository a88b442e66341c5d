"""The contact sheet of an augmentation: a few training images, and what becomes of each."""

import math

import numpy as np
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from bnbench.core.markdown import escape, strong
from bnbench.data.prepared import Augmented, Images
from bnbench.figures.style import PAGE_WIDTH
from bnbench.params.dataset_schema import Augmentation
from bnbench.tables import labels

SIDE = 96  # pixels of an image on the sheet, about
GAP = 4  # pixels between two


def draw_contact(augmented: Augmented) -> Drawing:
    """A row for each image; the original at the left, what becomes of it at its right."""
    mosaic = tiles(augmented.sheet)
    columns = augmented.sheet.shape[1]
    height, width = mosaic.shape[:2]
    shown_width = min(PAGE_WIDTH, columns * 1.0)
    drawing = Drawing(figsize=(shown_width, shown_width * height / width + 0.2))
    ax = drawing.add_axes((0, 0, 1, 1 - 0.2 / drawing.get_figheight()))
    ax.imshow(mosaic, cmap="gray", vmin=0, vmax=255, interpolation="none", aspect="auto")
    ax.xaxis.tick_top()
    ax.set_xticks([(column + 0.5) * width / columns for column in range(columns)], heads(augmented, columns))
    ax.tick_params(length=0, pad=1)
    ax.set_yticks([])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    return drawing


def heads(augmented: Augmented, columns: int) -> list[str]:
    """What stands above each column."""
    word = "epoch" if augmented.copies is None else "copy"
    return ["original", *(f"{word} {index}" for index in range(1, columns))]


def tiles(sheet: Images) -> NDArray[np.uint8]:
    """A sheet (images x columns x C x H x W) as one picture, height x width, with a third axis for colours."""
    rows, columns, channels, height, _ = sheet.shape
    larger, smaller = max(1, round(SIDE / height)), math.ceil(height / (2 * SIDE))
    sheet = sheet[..., ::smaller, ::smaller].repeat(larger, 3).repeat(larger, 4)
    padded = np.pad(sheet, ((0, 0), (0, 0), (0, 0), (GAP // 2,) * 2, (GAP // 2,) * 2), constant_values=255)
    picture = padded.transpose(0, 3, 1, 4, 2).reshape(rows * padded.shape[3], columns * padded.shape[4], channels)
    return picture[..., 0] if channels == 1 else picture


def contact_caption(augmented: Augmented, name: str, title: str) -> str:
    """The caption as Markdown."""
    rows, columns = augmented.sheet.shape[:2]
    what = "copies" if augmented.copies is not None else "appearances, an epoch each, in the run of seed 0"
    text = f"{rows} training images at the left, at the right of each its first {columns - 1} {what}: "
    text += f"{moves(augmented.definition)}."
    return f"{strong(f'{title}, augmentation {name}')}{escape('.')} {escape(text)}"


def moves(definition: Augmentation) -> str:
    """What may happen to an image, in words."""
    parts = [
        f"turned by {labels.number(-definition.rotate)} to {labels.number(definition.rotate)} degrees",
        f"shifted by {labels.number(-100 * definition.shift)} to {labels.number(100 * definition.shift)} % "
        "of width and height",
        *(["mirrored half of the times"] if definition.flip else []),
    ]
    return labels.joined(parts)
