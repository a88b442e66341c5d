"""Contact sheet of an augmentation: a few training images, each beside its augmented versions."""

import math

import numpy as np
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from bnbench.core.markdown import escape, strong
from bnbench.data.prepared import Augmented, Images
from bnbench.figures import canvas
from bnbench.figures.style import PAGE_WIDTH
from bnbench.params.dataset_schema import Augmentation
from bnbench.tables import labels

SIDE = 96  # approximate pixels of an image on the sheet
GAP = 4  # pixels between two images


def draw_sheet(augmented: Augmented) -> Drawing:
    """Draw a row for each image: the original at the left, its augmented versions at the right."""
    mosaic = tile(augmented.sheet)
    columns = augmented.sheet.shape[1]
    height, width = mosaic.shape[:2]
    shown_width = min(PAGE_WIDTH, columns * 1.0)
    drawing = canvas.new(layout=None, figsize=(shown_width, shown_width * height / width + 0.2))
    ax = drawing.add_axes((0, 0, 1, 1 - 0.2 / drawing.get_figheight()))
    ax.imshow(mosaic, cmap="gray", vmin=0, vmax=255, interpolation="none", aspect="auto")
    ax.xaxis.tick_top()
    ax.set_xticks([(column + 0.5) * width / columns for column in range(columns)], headings(augmented, columns))
    ax.tick_params(length=0, pad=1)
    ax.set_yticks([])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    return drawing


def headings(augmented: Augmented, columns: int) -> list[str]:
    """Return the headings of the columns: the original, then copies or epochs."""
    word = "epoch" if augmented.copies is None else "copy"
    return ["original", *(f"{word} {index}" for index in range(1, columns))]


def tile(sheet: Images) -> NDArray[np.uint8]:
    """Return a sheet (images x columns x C x H x W) as one picture (height x width, and colours if C > 1)."""
    rows, columns, channels, height, _ = sheet.shape
    larger, smaller = max(1, round(SIDE / height)), math.ceil(height / (2 * SIDE))
    sheet = sheet[..., ::smaller, ::smaller].repeat(larger, 3).repeat(larger, 4)
    padded = np.pad(sheet, ((0, 0), (0, 0), (0, 0), (GAP // 2,) * 2, (GAP // 2,) * 2), constant_values=255)
    picture = padded.transpose(0, 3, 1, 4, 2).reshape(rows * padded.shape[3], columns * padded.shape[4], channels)
    return picture[..., 0] if channels == 1 else picture


def sheet_caption(augmented: Augmented, name: str, title: str) -> str:
    """Return the caption as Markdown: the numbers of images and versions, and the transformations."""
    rows, columns = augmented.sheet.shape[:2]
    versions = "augmented copies" if augmented.copies is not None else "versions, one per epoch of the run with seed 0"
    text = (
        f"{rows} training images at the left, and at the right of each its first {columns - 1} {versions}. Each version"
        f" is randomly {transformations(augmented.definition)}."
    )
    return f"{strong(f'{title}, augmentation {name}')}{escape('.')} {escape(text)}"


def transformations(definition: Augmentation) -> str:
    """Return the random transformations as "rotated by -10 to 10 degrees and mirrored half of the time"."""
    parts = [
        f"rotated by {labels.number(-definition.rotate)} to {labels.number(definition.rotate)} degrees",
        f"shifted by {labels.number(-100 * definition.shift)} to {labels.number(100 * definition.shift)} % "
        "of width and height",
        *(["mirrored half of the time"] if definition.flip else []),
    ]
    return labels.joined(parts)
