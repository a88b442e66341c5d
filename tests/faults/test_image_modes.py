"""Images that are not 8-bit grey or RGB: converted by a documented rule and recorded, or excluded by name."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bnbench.data.formats import folders
from bnbench.data.prepared import Arrays, Images, Shape
from tests.data.formats.test_folders import laid, picture

GREY: Shape = (1, 4, 4)
COLOUR: Shape = (3, 4, 4)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def grey16(low: int, high: int) -> bytes:
    """Return a PNG of 4 x 4 pixels of 16-bit grey, the format of many X-rays."""
    return saved(Image.fromarray(np.linspace(low, high, 16).astype(np.uint16).reshape(4, 4)))


def png16(kind: int, samples: list[int]) -> bytes:
    """Return a PNG of 4 x 4 equal pixels of 16-bit samples; Pillow itself can write only grey."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    row = b"\0" + struct.pack(f">{len(samples)}H", *samples) * 4
    header = struct.pack(">IIBBBBB", 4, 4, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * 4)) + chunk(b"IEND", b"")


def read(folder: Path, contents: dict[str, bytes], shape: Shape = GREY) -> Arrays:
    """Read these files as class `a`, and one plain image as class `b`."""
    files = {f"all/a/{name}": content for name, content in contents.items()}
    return folders.read(laid(folder, {**files, "all/b/plain.jpg": picture(1, (4, 4), "L")}), shape, 1)


def only(made: Arrays) -> Images:
    """Return the pixels of the only image of class `a`, H x W x C."""
    assert made.labels.tolist() == [0, 1]
    pixels: Images = made.images[0].transpose(1, 2, 0)
    return pixels


def test_sixteen_bit_grey_is_reduced_to_its_upper_eight_bits_and_recorded(tmp_path: Path) -> None:
    made = read(tmp_path, {"dark.png": grey16(15_000, 20_000), "light.png": grey16(45_000, 60_000)})
    dark, light = made.images[0], made.images[1]
    assert dark.ravel().tolist() == [int(value) >> 8 for value in np.linspace(15_000, 20_000, 16).astype(np.uint16)]
    assert light.min() == 45_000 >> 8
    assert light.max() == 60_000 >> 8
    assert made.about["reduced"] == ["all/a/dark.png", "all/a/light.png"]


@pytest.mark.parametrize(("kind", "samples"), [(2, [0x1234, 0xFF00, 0x00FF]), (6, [0x1234, 0xFF00, 0x00FF, 0xFFFF])])
def test_sixteen_bit_colours_are_reduced_to_their_upper_eight_bits_and_recorded(
    tmp_path: Path, kind: int, samples: list[int]
) -> None:
    made = read(tmp_path, {"deep.png": png16(kind, samples)}, COLOUR)
    assert only(made)[0, 0].tolist() == [0x12, 0xFF, 0x00]
    assert made.about["reduced"] == ["all/a/deep.png"]


def test_a_sixteen_bit_image_with_a_transparent_shade_is_left_out_by_name(tmp_path: Path) -> None:
    content = grey16(0, 65535)
    marked = content[:33] + struct.pack(">I", 2) + b"tRNS\x12\x34" + struct.pack(">I", zlib.crc32(b"tRNS\x12\x34"))
    made = read(tmp_path, {"deep.png": marked + content[33:], "plain.png": picture(2, (4, 4), "L", "PNG")})
    assert list(made.about["left_out"]) == ["all/a/deep.png"]
    assert "8 bits" in made.about["left_out"]["all/a/deep.png"]


def transparent(mode: str) -> bytes:
    """Return an image in red (or dark grey), the left half of it transparent."""
    image = Image.new("RGBA", (4, 4), (200, 0, 0, 255))
    image.paste((200, 0, 0, 0), (0, 0, 2, 4))
    if mode == "P":
        indexed = Image.new("P", (4, 4), 1)
        indexed.putpalette([0, 255, 0, 200, 0, 0])
        indexed.paste(0, (0, 0, 2, 4))
        return saved(indexed, transparency=0)
    return saved(image.convert(mode))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_become_white_and_the_image_is_recorded(tmp_path: Path, mode: str) -> None:
    made = read(tmp_path, {"half.png": transparent(mode)}, COLOUR)
    assert only(made)[:, 0].tolist() == [[255, 255, 255]] * 4
    assert only(made)[0, 3].max() < 255
    assert made.about["blended"] == ["all/a/half.png"]


def test_an_opaque_image_with_an_alpha_channel_keeps_its_colours_and_is_not_recorded_as_blended(tmp_path: Path) -> None:
    made = read(tmp_path, {"opaque.png": saved(Image.new("RGBA", (4, 4), (10, 20, 30, 255)))}, COLOUR)
    assert only(made)[0, 0].tolist() == [10, 20, 30]
    assert "blended" not in made.about


def test_of_an_animation_the_first_frame_is_read_and_recorded(tmp_path: Path) -> None:
    first, *more = [Image.new("RGB", (4, 4), (value,) * 3) for value in (40, 120, 200)]
    kinds = {"a.gif": "GIF", "b.webp": "WEBP", "c.png": "PNG"}
    options: dict[str, Any] = {"save_all": True, "append_images": more, "lossless": True}
    made = read(tmp_path, {name: saved(first, kind, **options) for name, kind in kinds.items()}, COLOUR)
    assert np.unique(made.images[:3]).tolist() == [40]
    assert made.about["first_frame"] == [f"all/a/{name}" for name in kinds]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cmyk.jpg", saved(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "JPEG", quality=95)),
        ("ycbcr.jpg", saved(Image.new("YCbCr", (4, 4), (76, 85, 255)), "JPEG", quality=95)),
        ("palette.png", saved(Image.new("RGB", (4, 4), "red").convert("P"))),
    ],
)
def test_red_in_another_colour_space_is_red(tmp_path: Path, name: str, content: bytes) -> None:
    red, green, blue = only(read(tmp_path, {name: content}, COLOUR))[0, 0].astype(int)
    assert (red > 245, green < 15, blue < 15) == (True, True, True)


def test_black_and_white_becomes_0_and_255(tmp_path: Path) -> None:
    image = Image.new("1", (4, 4), 1)
    image.paste(0, (0, 0, 2, 4))
    made = read(tmp_path, {"bits.png": saved(image)})
    assert only(made)[0, :, 0].tolist() == [0, 0, 255, 255]
    assert "all/a/bits.png" in made.about["converted"]


@pytest.mark.parametrize("mode", ["F", "I", "LAB", "HSV"])
def test_modes_without_a_unique_scale_to_eight_bits_are_refused(mode: str) -> None:
    from bnbench.data.formats.decoding import Unreadable, in_eight_bits

    with pytest.raises(Unreadable, match=rf"mode {mode}, which has no one scale to 8 bits"):
        in_eight_bits(Image.new(mode, (4, 4)), "L")


@pytest.mark.parametrize("kind", ["TIFF", "JPEG2000", "PPM", "ICO"])
def test_an_unsupported_kind_of_file_is_left_out_by_name(tmp_path: Path, kind: str) -> None:
    made = read(
        tmp_path, {"odd.png": saved(Image.new("L", (16, 16)), kind), "plain.png": picture(2, (4, 4), "L", "PNG")}
    )
    assert made.about["left_out"] == {"all/a/odd.png": "cannot be decoded: none of JPEG, PNG, GIF, BMP, WEBP"}
