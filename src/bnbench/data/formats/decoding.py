"""Decoding of one image file to 8-bit grey or RGB, with a record of the conversions that were needed.

The kind of file is detected from its first bytes, not from its name.
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bnbench.data.prepared import Images, Shape

if TYPE_CHECKING:
    from PIL import Image

KINDS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")  # no format that executes or references anything
MODES = {1: "L", 3: "RGB"}  # channels -> Pillow's mode
DEEP_GREY = ("I;16", "I;16L", "I;16B")  # Pillow's modes of 16-bit grey; of 16-bit colours it decodes the upper bytes
EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
EXIF_ORIENTATION = 0x0112
LARGEST_IMAGE = 1 << 26  # pixels

Source = Callable[[], bytes]


class Unreadable(Exception):
    """An image without a unique 8-bit form, or a file too large for an image; the text gives the reason."""


@dataclass(frozen=True)
class Decoded:
    """A decoded image, C x H x W, or the fault that prevented it, and the conversions that were needed.

    Faults are recorded in manifests, so their wording is part of the prepared data.
    """

    pixels: Images | None
    fault: str = ""
    notes: tuple[str, ...] = ()


def decode(source: Source, shape: Shape) -> Decoded:
    """Decode one image: upright, in grey or RGB, scaled to `shape`. Any bytes are accepted and give a result.

    The `notes` of the result are keys of the manifest, each a list of file names: `turned` by the EXIF orientation,
    `reduced` from 16 to the upper 8 bits, `blended` with white where transparent, `first_frame` of several,
    `converted` from another mode, `flat`, one colour all over.
    """
    from PIL import Image, UnidentifiedImageError  # only this format needs Pillow

    channels, height, width = shape
    try:
        content = source()
        if not content:
            return Decoded(None, "an empty file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd EXIF; excessive sizes are refused below
            image = Image.open(io.BytesIO(content), formats=KINDS)
        if image.width * image.height > LARGEST_IMAGE:
            return Decoded(None, f"its header promises {image.width} x {image.height} pixels")
        upright, notes = in_eight_bits(image, MODES[channels])
        # Pillow sums in whole numbers; its weights, + - * / of doubles, are rounded to 22 bits (its Resample.c)
        scaled = upright.resize((width, height), Image.Resampling.BILINEAR)
    except Unreadable as reason:
        return Decoded(None, str(reason))
    except UnidentifiedImageError:  # its own text contains a memory address
        return Decoded(None, f"cannot be decoded: none of {', '.join(KINDS)}")
    except Exception as error:  # a decoder may raise anything on damaged input
        return Decoded(None, f"cannot be decoded: {type(error).__name__}: {error}"[:120])
    pixels = np.asarray(scaled, np.uint8).reshape(height, width, channels).transpose(2, 0, 1)
    notes["flat"] = bool(pixels.min() == pixels.max())
    return Decoded(pixels, notes=tuple(note for note, applies in notes.items() if applies))


def in_eight_bits(image: "Image.Image", mode: str) -> tuple["Image.Image", dict[str, bool]]:
    """Return an opened image upright in `mode` (L or RGB), and for each note whether it applies.

    Raises:
        Unreadable: pixels of a mode without a unique scale to 8 bits.
    """
    from PIL import Image, ImageOps

    tiles = getattr(image, "tile", []) if image.format == "PNG" else []
    deep = image.mode in DEEP_GREY or any(";16B" in str(tile.args) for tile in tiles)
    if image.mode not in (*DEEP_GREY, *EIGHT_BIT):
        raise Unreadable(f"its pixels are of mode {image.mode}, which has no one scale to 8 bits")
    if deep and "transparency" in image.info:
        raise Unreadable("one of its 16-bit colours is transparent, which 8 bits cannot tell from its neighbours")
    notes = {
        "turned": image.getexif().get(EXIF_ORIENTATION, 1) not in (0, 1),
        "converted": image.mode != mode,
        "reduced": deep,
        "first_frame": bool(getattr(image, "is_animated", False)),
    }
    upright = ImageOps.exif_transpose(image)
    if upright.mode in DEEP_GREY:
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    if upright.has_transparency_data and _has_transparency(rgba := upright.convert("RGBA")):
        notes["blended"] = True
        upright = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return upright.convert(mode), notes


def _has_transparency(image: "Image.Image") -> bool:
    return image.getchannel("A").getextrema() != (255, 255)
