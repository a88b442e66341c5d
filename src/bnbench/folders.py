"""A folder of images for each class, `PetImages/Cat/0.jpg`, as files or in a zip: decoded, upright, of one size."""

import io
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bnbench.data import Arrays, Images, Shape
from bnbench.errors import DataError, UserError
from bnbench.listing import LISTING, is_plain

SUFFIXES = (".jpg", ".jpeg", ".png")
KINDS = ("JPEG", "PNG", "GIF", "BMP")  # what such files turn out to be; no format that runs or refers to anything
MODES = {1: "L", 3: "RGB"}  # channels -> Pillow's name
EXIF_ORIENTATION = 0x0112
LARGEST_FILE = 1 << 26  # bytes of one image file, as it unfolds from a zip
LARGEST_ALL = 1 << 33  # bytes of all image files of a zip
LARGEST_IMAGE = 1 << 26  # pixels

Source = Callable[[], bytes]


@dataclass(frozen=True)
class Decoded:
    """An image, C x H x W, or why there is none; and what had to be done to it."""

    pixels: Images | None
    fault: str = ""
    signs: tuple[str, ...] = ()


def folders(files: Mapping[str, Path], shape: Shape, workers: int) -> Arrays:
    """Images brought to `shape`, sorted by class and name; classes are the folders' names in alphabetical order.

    The sides are scaled apart, by Pillow's bilinear filter. An image is turned as its EXIF says and converted to
    grey or RGB. One that cannot be decoded is left out. All of these are named in the manifest.

    Args:
        files: the listing and what it lists, or one zip.
        shape: channels (1 or 3), height, width.
        workers: threads.

    Raises:
        UserError: a shape of other channels, or no images are declared.
        DataError: a class without images, a zip that cannot be trusted.
    """
    if shape[0] not in MODES:
        raise UserError(f"format folders gives images of 1 or 3 channels, but the shape is {list(shape)}")
    sources = _sources(files)
    names = sorted(sources, key=lambda name: (_class(name), name))
    classes = sorted({_class(name) for name in names})
    images = np.empty((len(names), *shape), np.uint8)
    about: dict[str, Any] = {"class_names": classes, "left_out": {}}
    kept: list[str] = []
    pool = ThreadPoolExecutor(workers)  # Pillow decodes and resizes without Python's lock
    try:
        for name, made in zip(names, pool.map(lambda name: decode(sources[name], shape), names), strict=True):
            if made.pixels is None:
                about["left_out"][name] = made.fault
                continue
            images[len(kept)] = made.pixels
            kept.append(name)
            for sign in made.signs:
                about.setdefault(sign, []).append(name)
    finally:
        pool.shutdown(cancel_futures=True)  # what is left after a signal need not be decoded
    labels = np.array([classes.index(_class(name)) for name in kept], np.int64)
    if empty := sorted(set(range(len(classes))) - set(labels.tolist())):
        raise DataError(f"no image in {classes[empty[0]]} can be decoded; seen: {shown(about['left_out'])}")
    return Arrays(images[: len(kept)], labels, about=about)


def shown(left_out: Mapping[str, str], most: int = 20) -> str:
    """The images left out and why, in a sentence."""
    told = [f"{name} ({fault})" for name, fault in list(left_out.items())[:most]]
    return ", ".join([*told, *(["..."] if len(left_out) > most else [])])


def decode(source: Source, shape: Shape) -> Decoded:
    """One image, whatever its bytes are."""
    from PIL import Image, ImageOps, UnidentifiedImageError  # planning imports this module, and needs no Pillow

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
        turned = image.getexif().get(EXIF_ORIENTATION, 1) not in (0, 1)
        converted = image.mode != MODES[channels]
        upright = ImageOps.exif_transpose(image).convert(MODES[channels])
        small = upright.resize((width, height), Image.Resampling.BILINEAR)
    except UnidentifiedImageError:  # whose own text has an address in memory
        return Decoded(None, f"cannot be decoded: none of {', '.join(KINDS)}")
    except Exception as error:  # a decoder that is given rubbish may raise anything
        return Decoded(None, f"cannot be decoded: {type(error).__name__}: {error}"[:120])
    pixels = np.asarray(small, np.uint8).reshape(height, width, channels).transpose(2, 0, 1)
    flat = pixels.min() == pixels.max()
    signs = {"turned": turned, "converted": converted, "flat": flat}
    return Decoded(pixels, signs=tuple(sign for sign, true in signs.items() if true))


def _class(name: str) -> str:
    return PurePosixPath(name).parent.name


def _sources(files: Mapping[str, Path]) -> dict[str, Source]:
    """How the bytes of each image are read.

    Raises:
        UserError, DataError: there are none, or not in two or more class folders beside each other.
    """
    zips = [path for name, path in files.items() if name.endswith(".zip")]
    if len(zips) == 1 == len(files):
        sources = _zipped(zips[0])
    else:
        sources = {name: path.read_bytes for name, path in files.items() if name.lower().endswith(SUFFIXES)}
        if zips or not any(PurePosixPath(name).name == LISTING for name in files):
            declared = ", ".join(list(files)[:3]) or "nothing"
            raise UserError(f"format folders reads one zip, or a {LISTING} and what it lists; `files` has: {declared}")
    parents: dict[PurePosixPath, set[str]] = defaultdict(set)
    for name in sources:
        parents[PurePosixPath(name).parent.parent].add(_class(name))
    if len(parents) != 1 or len(next(iter(parents.values()))) < 2:
        seen = ", ".join(sorted(f"{parent}/{name}" for parent, found in parents.items() for name in found)[:9])
        where = ", ".join(map(str, zips)) or next(iter(files))
        raise DataError(
            f"{where}: images must lie in two or more class folders beside each other; seen: {seen or 'none'}"
        )
    return sources


def _zipped(path: Path) -> dict[str, Source]:
    """The images of a zip, read from it without unpacking it anywhere."""
    try:
        archive = zipfile.ZipFile(path)
        members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise DataError(f"{path}: not a whole zip: {error}") from None
    sources: dict[str, Source] = {}
    images = [member for member in members if member.filename.lower().endswith(SUFFIXES)]
    for member in members:
        if not is_plain(member.filename.rstrip("/")):
            raise DataError(
                f"{path}: the path {member.filename[:200]!r} leaves the folder or is hidden; the zip is refused"
            )
    for member in images:
        if member.filename in sources:
            raise DataError(f"{path}: {member.filename!r} stands twice in it")
        if member.file_size > LARGEST_FILE:
            raise DataError(
                f"{path}: {member.filename!r} unfolds to {member.file_size} bytes; an image has at most {LARGEST_FILE}"
            )
        sources[member.filename] = partial(archive.read, member)
    if (size := sum(member.file_size for member in images)) > LARGEST_ALL:
        raise DataError(f"{path}: its images unfold to {size} bytes; at most {LARGEST_ALL}")
    empty = {member.filename for member in members if member.is_dir()} - {
        f"{parent}/" for name in sources for parent in PurePosixPath(name).parents
    }
    if empty:
        raise DataError(f"{path}: the class folder {min(empty)} has no image")
    return sources
