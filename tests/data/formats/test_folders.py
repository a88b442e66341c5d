"""Folders and zips of images: decoded as by Pillow; broken files are recorded by name, malicious ones refused."""

import io
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bnbench.core.errors import DataError
from bnbench.data.formats import folders
from bnbench.data.formats.decoding import KINDS, decode
from bnbench.data.prepared import Shape

SHAPE: Shape = (3, 8, 6)


def picture(
    seed: int, size: tuple[int, int] = (40, 30), mode: str = "RGB", kind: str = "JPEG", **options: Any
) -> bytes:
    """Return an image file of coloured squares."""
    fields = np.random.RandomState(seed).randint(0, 256, (3, 4, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(fields).resize(size, Image.Resampling.NEAREST).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


GOOD = {f"PetImages/{name}/{i}.jpg": picture(10 * len(name) + i) for name in ("Dog", "Catty") for i in range(4)}


def laid(folder: Path, contents: dict[str, bytes]) -> dict[str, Path]:
    """Write files and a listing, by which the reader detects a folder; return their paths by name."""
    for name, content in {**contents, "SHA256SUMS": b""}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return {name: folder / name for name in ["SHA256SUMS", *contents]}


def zipped(folder: Path, contents: dict[str, bytes], *more: str) -> dict[str, Path]:
    """Write a zip of the files with `more` empty members and return its path by name."""
    with warnings.catch_warnings(), zipfile.ZipFile(folder / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # about duplicate names
        for name, content in [*contents.items(), *((name, b"") for name in more)]:
            archive.writestr(name, content)
    return {"c.zip": folder / "c.zip"}


@pytest.mark.parametrize("put", [laid, zipped])
@pytest.mark.parametrize("workers", [1, 4])
def test_images_are_scaled_sorted_and_labelled_by_folder(tmp_path: Path, put: Any, workers: int) -> None:
    files = put(tmp_path, GOOD | {"PetImages/Dog/Thumbs.db": b"no image", "readme.txt": b"words"})
    made = folders.read(files, SHAPE, workers)
    names = sorted(GOOD)
    assert made.about == {
        "class_names": ["Catty", "Dog"],
        "left_out": {"readme.txt": f"cannot be decoded: none of {', '.join(KINDS)}"},
        "litter": {"Thumbs.db": 1},
    }
    assert made.labels.tolist() == [0] * 4 + [1] * 4
    for image, name in zip(made.images, names, strict=True):
        known = Image.open(io.BytesIO(GOOD[name])).resize((6, 8), Image.Resampling.BILINEAR)
        assert np.array_equal(image, np.asarray(known).transpose(2, 0, 1))


def test_a_scaled_field_keeps_its_colour() -> None:
    content = io.BytesIO()
    Image.new("RGB", (50, 20), (200, 100, 50)).save(content, "PNG")
    pixels = decode(content.getvalue, SHAPE).pixels
    assert pixels is not None
    assert np.array_equal(pixels, np.broadcast_to(np.array([200, 100, 50], np.uint8)[:, None, None], SHAPE))


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    return made


def test_an_image_is_rotated_by_its_exif_orientation() -> None:
    upright = Image.open(io.BytesIO(picture(1, kind="PNG")))
    for orientation, undo in (
        (3, Image.Transpose.ROTATE_180),
        (6, Image.Transpose.ROTATE_90),
        (8, Image.Transpose.ROTATE_270),
    ):
        content = io.BytesIO()
        upright.transpose(undo).save(content, "PNG", exif=exif(orientation))
        rotated = decode(content.getvalue, SHAPE)
        assert rotated.notes == ("turned",)
        plain = decode(lambda: picture(1, kind="PNG"), SHAPE).pixels
        assert rotated.pixels is not None
        assert plain is not None
        assert np.array_equal(rotated.pixels, plain)


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", "JPEG"), ("CMYK", "JPEG"), ("P", "PNG"), ("RGBA", "PNG"), ("1", "PNG"), ("RGB", "GIF")]
)
def test_other_modes_than_rgb_are_converted_and_recorded(mode: str, kind: str) -> None:
    made = decode(lambda: picture(2, mode=mode, kind=kind), SHAPE)
    assert made.notes == ("converted",)
    assert made.pixels is not None
    assert made.pixels.shape == SHAPE


def test_colours_become_grey_for_a_shape_of_one_channel(tmp_path: Path) -> None:
    assert folders.read(laid(tmp_path, GOOD), (1, 5, 5), 1).images.shape == (8, 1, 5, 5)


def huge() -> bytes:
    """Return a JPEG whose header announces 50,000 x 50,000 pixels."""
    content = bytearray(picture(3))
    start = content.index(b"\xff\xc0") + 5
    content[start : start + 4] = struct.pack(">2H", 50_000, 50_000)
    return bytes(content)


def large() -> bytes:
    """Return a JPEG like `huge`, but of a size that only makes Pillow warn."""
    content = bytearray(picture(3))
    start = content.index(b"\xff\xc0") + 5
    content[start : start + 4] = struct.pack(">2H", 10_000, 10_000)
    return bytes(content)


BAD = {
    "empty": (b"", "an empty file"),
    "text": (b"I am no image", "cannot be decoded: none of JPEG, PNG, GIF, BMP, WEBP"),
    "page": (b"<html>log in</html>", "cannot be decoded"),
    "truncated": (picture(4)[:300], "cannot be decoded"),
    "header alone": (picture(4)[:20], "cannot be decoded"),
    "huge": (huge(), "cannot be decoded: DecompressionBombError"),
    "large": (large(), "its header promises 10000 x 10000 pixels"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "cannot be decoded"),
    "tiff": (picture(4, kind="TIFF"), "cannot be decoded"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("put", [laid, zipped])
def test_a_broken_image_is_left_out_and_recorded(tmp_path: Path, put: Any, name: str) -> None:
    content, reason = BAD[name]
    made = folders.read(put(tmp_path, {**GOOD, "PetImages/Dog/bad.jpg": content}), SHAPE, 2)
    assert len(made.images) == len(made.labels) == len(GOOD)
    assert list(made.about["left_out"]) == ["PetImages/Dog/bad.jpg"]
    assert made.about["left_out"]["PetImages/Dog/bad.jpg"].startswith(reason)
    assert (
        " at 0x" not in made.about["left_out"]["PetImages/Dog/bad.jpg"]
    )  # a memory address, which would differ each time


def test_an_image_of_a_single_pixel_is_read_and_recorded_as_flat(tmp_path: Path) -> None:
    files = laid(tmp_path, {**GOOD, "PetImages/Dog/9.jpg": picture(5, (1, 1), "L")})
    made = folders.read(files, SHAPE, 1)
    assert len(made.images) == len(GOOD) + 1
    assert made.about["flat"] == made.about["converted"] == ["PetImages/Dog/9.jpg"]


def test_a_class_without_a_good_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"class folder PetImages/Bird has no image .* left out: PetImages/Bird/1.jpg \(an empty file\)"
    ):
        folders.read(laid(tmp_path, {**GOOD, "PetImages/Bird/1.jpg": b""}), SHAPE, 1)


def test_an_empty_class_folder_of_a_zip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the class folder PetImages/Bird has no image"):
        folders.read(zipped(tmp_path, GOOD, "PetImages/", "PetImages/Dog/", "PetImages/Bird/"), SHAPE, 1)


@pytest.mark.parametrize("kept", ["PetImages/Dog", "PetImages/Bird"])
def test_one_class_folder_or_none_is_refused(tmp_path: Path, kept: str) -> None:
    contents = {name: content for name, content in GOOD.items() if name.startswith(kept)}
    with pytest.raises(DataError, match="two or more class folders beside each other; found in: "):
        folders.read(laid(tmp_path, contents), SHAPE, 1)


ATTACKS = {
    "parent": ("../evil.jpg", "leaves the folder"),
    "within": ("PetImages/../../evil.jpg", "leaves the folder"),
    "absolute": ("/etc/evil.jpg", "is absolute, so it leaves the folder"),
    "backslash": ("PetImages\\..\\evil.jpg", "leaves the folder"),
    "no image": ("../evil.txt", "leaves the folder"),
    "twice": ("PetImages/Dog/0.jpg", "occurs twice"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_zip_with_a_path_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    member, message = ATTACKS[name]
    with pytest.raises(DataError, match=message):
        folders.read(zipped(tmp_path, GOOD, member), SHAPE, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["c.zip"]


@pytest.mark.parametrize(
    ("limit", "message"),
    [("LARGEST_FILE", "an image has at most 4096"), ("LARGEST_ALL", "bytes unpacked; at most 4096")],
)
def test_a_zip_bomb_is_refused_by_its_announced_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, message: str
) -> None:
    monkeypatch.setattr(folders, limit, 4096)
    with pytest.raises(DataError, match=message):
        folders.read(zipped(tmp_path, {**GOOD, "PetImages/Dog/b.jpg": bytes(1 << 20)}), SHAPE, 1)


def test_a_bomb_that_announces_less_than_it_unpacks_to_is_left_out(tmp_path: Path) -> None:
    files = zipped(tmp_path, {**GOOD, "PetImages/Dog/b.jpg": bytes(1 << 20)})
    content = files["c.zip"].read_bytes()
    files["c.zip"].write_bytes(content.replace(struct.pack("<I", 1 << 20), struct.pack("<I", 50)))
    made = folders.read(files, SHAPE, 1)
    assert list(made.about["left_out"]) == ["PetImages/Dog/b.jpg"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a zip, and not an intact tar"),
        (b"<html>", "not a zip, and"),
        (b"PK\x03\x04 and no more", "incomplete or damaged zip"),
    ],
)
def test_a_file_that_is_not_an_archive_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "c.zip").write_bytes(content)
    with pytest.raises(DataError, match=rf"c\.zip: {message}"):
        folders.read({"c.zip": tmp_path / "c.zip"}, SHAPE, 1)
