"""Decode an image file to 8-bit grey or RGB: what it is, its first bytes say; what had to be done to it is recorded."""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bnbench.data.prepared import Images, Shape

if TYPE_CHECKING:
    from PIL import Image

KINDS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")  # no format that runs or refers to anything
MODES = {1: "L", 3: "RGB"}  # channels -> Pillow's name
DEEP_GREY = ("I;16", "I;16L", "I;16B")  # Pillow's modes of 16-bit grey; 16-bit colours it gives by their upper bytes
EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
EXIF_ORIENTATION = 0x0112
LARGEST_IMAGE = 1 << 26  # pixels

Source = Callable[[], bytes]


class Unreadable(Exception):
    """An image that has no one form in 8 bits, or a file too large for one; the text says why."""


@dataclass(frozen=True)
class Decoded:
    """An image, C x H x W, or why there is none; and what had to be done to it."""

    pixels: Images | None
    fault: str = ""
    signs: tuple[str, ...] = ()


def decode(source: Source, shape: Shape) -> Decoded:
    """Decode one image, whatever its bytes are: upright, in grey or RGB, scaled to `shape`.

    `signs` of the result, each a list of names in the manifest: `turned` as the EXIF said, `reduced` from 16 to the
    upper 8 bits, `blended` with white where it is transparent, `first_frame` of several, `converted` from another
    mode, `flat`, one colour all over.
    """
    from PIL import Image, UnidentifiedImageError  # planning imports this module, and needs no Pillow

    channels, height, width = shape
    try:
        content = source()
        if not content:
            return Decoded(None, "an empty file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd EXIF; a size beyond all bounds is refused below
            image = Image.open(io.BytesIO(content), formats=KINDS)
        if image.width * image.height > LARGEST_IMAGE:
            return Decoded(None, f"its header promises {image.width} x {image.height} pixels")
        upright, signs = in_eight_bits(image, MODES[channels])
        small = upright.resize((width, height), Image.Resampling.BILINEAR)
    except Unreadable as reason:
        return Decoded(None, str(reason))
    except UnidentifiedImageError:  # whose own text has an address in memory
        return Decoded(None, f"cannot be decoded: none of {', '.join(KINDS)}")
    except Exception as error:  # a decoder that is given rubbish may raise anything
        return Decoded(None, f"cannot be decoded: {type(error).__name__}: {error}"[:120])
    pixels = np.asarray(small, np.uint8).reshape(height, width, channels).transpose(2, 0, 1)
    signs["flat"] = bool(pixels.min() == pixels.max())
    return Decoded(pixels, signs=tuple(sign for sign, true in signs.items() if true))


def in_eight_bits(image: "Image.Image", mode: str) -> tuple["Image.Image", dict[str, bool]]:
    """Return an opened image upright in `mode` (L or RGB), and for each sign whether it is true.

    Raises:
        Unreadable: pixels of a mode that has no one scale to 8 bits.
    """
    from PIL import Image, ImageOps

    tiles = getattr(image, "tile", []) if image.format == "PNG" else []
    deep = image.mode in DEEP_GREY or any(";16B" in str(tile.args) for tile in tiles)
    if image.mode not in (*DEEP_GREY, *EIGHT_BIT):
        raise Unreadable(f"its pixels are of mode {image.mode}, which has no one scale to 8 bits")
    if deep and "transparency" in image.info:
        raise Unreadable("one of its 16-bit colours is transparent, which 8 bits cannot tell from its neighbours")
    signs = {
        "turned": image.getexif().get(EXIF_ORIENTATION, 1) not in (0, 1),
        "converted": image.mode != mode,
        "reduced": deep,
        "first_frame": bool(getattr(image, "is_animated", False)),
    }
    upright = ImageOps.exif_transpose(image)
    if upright.mode in DEEP_GREY:
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    if upright.has_transparency_data and _is_clear(clear := upright.convert("RGBA")):
        signs["blended"] = True
        upright = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    return upright.convert(mode), signs


def _is_clear(image: "Image.Image") -> bool:
    return image.getchannel("A").getextrema() != (255, 255)
