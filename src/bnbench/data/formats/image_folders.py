"""A folder of images for each class, `PetImages/Cat/0.jpg`, as files or in a zip or tar. No file is dropped unnamed."""

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bnbench.core.errors import DataError, UserError
from bnbench.core.names import LISTING, is_hidden, litter
from bnbench.data.containers import content
from bnbench.data.formats.decoding import MODES, Source, Unreadable, decode
from bnbench.data.prepared import Arrays, Shape

LARGEST_FILE = 1 << 26  # bytes of one image file, as it unfolds from an archive
LARGEST_ALL = 1 << 33  # bytes of all files of an archive
HIDDEN = "a hidden file"


@dataclass
class Found:
    """The files to decode by name, the folders that they and others lie in, and the files that are litter."""

    where: str
    sources: dict[str, Source] = field(default_factory=dict)
    folders: set[PurePosixPath] = field(default_factory=set)
    left_out: dict[str, str] = field(default_factory=dict)
    litter: Counter[str] = field(default_factory=Counter)


def folders(files: Mapping[str, Path], shape: Shape, workers: int) -> Arrays:
    """Images brought to `shape`, sorted by class and name; classes are the folders' names in alphabetical order.

    The sides are scaled apart, by Pillow's bilinear filter; `decode` says what else is done to an image. A file that
    is no image is left out. All of these are named in the manifest, where `litter` counts what an operating system
    left (`Thumbs.db`).

    Args:
        files: the listing and what it lists, or one zip or tar.
        shape: channels (1 or 3), height, width.
        workers: threads.

    Raises:
        UserError: a shape of other channels, or no images are declared.
        DataError: a class without images, an archive that cannot be trusted.
    """
    if shape[0] not in MODES:
        raise UserError(f"format folders gives images of 1 or 3 channels, but the shape is {list(shape)}")
    with ExitStack() as opened:
        pool = ThreadPoolExecutor(workers)  # Pillow decodes and resizes without Python's lock
        opened.callback(pool.shutdown, cancel_futures=True)  # what is left after a signal need not be decoded
        found = _found(files, opened)
        names = sorted(found.sources, key=lambda name: (_class(name), name))
        images = np.empty((len(names), *shape), np.uint8)
        signs: dict[str, list[str]] = {}
        kept: list[str] = []
        for name, made in zip(names, pool.map(lambda name: decode(found.sources[name], shape), names), strict=True):
            if made.pixels is None:
                found.left_out[name] = made.fault
                continue
            images[len(kept)] = made.pixels
            kept.append(name)
            for sign in made.signs:
                signs.setdefault(sign, []).append(name)
    classes = _classes(found, kept)
    labels = np.array([classes.index(_class(name)) for name in kept], np.int64)
    about: dict[str, Any] = {"class_names": classes, "left_out": dict(sorted(found.left_out.items()))}
    if found.litter:
        about["litter"] = dict(sorted(found.litter.items()))
    return Arrays(images[: len(kept)], labels, about=about | signs)


def shown(left_out: Mapping[str, str], most: int = 20) -> str:
    """Return the files left out and why, in a sentence."""
    told = [f"{name} ({fault})" for name, fault in list(left_out.items())[:most]]
    return ", ".join([*told, *(["..."] if len(left_out) > most else [])])


def _class(name: str) -> str:
    return PurePosixPath(name).parent.name


def _classes(found: Found, kept: list[str]) -> list[str]:
    """The names of the class folders: those beside each other that the images lie in.

    Raises:
        DataError: the images lie otherwise, or a folder beside those of the classes has none.
    """
    homes = {PurePosixPath(name).parent for name in kept}
    parents = {home.parent if home.parts else None for home in homes}
    beside = {folder for folder in found.folders if folder.parts and folder.parent in parents}
    if len(parents) == 1 and (empty := sorted(beside - homes)):
        inside = {name: why for name, why in found.left_out.items() if PurePosixPath(name).parent == empty[0]}
        raise DataError(
            f"{found.where}: the class folder {empty[0]} has no image that can be read; "
            f"{len(inside)} files in it are left out: {shown(inside) or 'none'}; put images there, or remove the folder"
        )
    if len(parents) != 1 or len(homes) < 2 or None in parents:
        seen = ", ".join(sorted(str(home) for home in homes)[:9])
        why = f"; {len(found.left_out)} files are left out: {shown(found.left_out)}" if found.left_out else ""
        raise DataError(
            f"{found.where}: images must lie in two or more class folders beside each other; "
            f"seen: {seen or 'none'}{why}"
        )
    return sorted(home.name for home in homes)


def _found(files: Mapping[str, Path], opened: ExitStack) -> Found:
    """List the files that may be images.

    Raises:
        UserError: neither one archive nor a listing is declared.
        DataError: an archive that cannot be trusted.
    """
    is_listed = any(PurePosixPath(name).name == LISTING for name in files)
    if not is_listed and len(files) != 1:
        declared = ", ".join(list(files)[:3]) or "nothing"
        raise UserError(
            f"format folders reads one zip or tar, or a {LISTING} and what it lists; `files` has: {declared}"
        )
    where = next(name for name in files if not is_listed or PurePosixPath(name).name == LISTING)
    found = Found(str(files[where]))
    if is_listed:
        for name, path in files.items():
            if PurePosixPath(name).name != LISTING:
                _sort(found, name, partial(_read, path))
        return found
    packed = opened.enter_context(content(files[where], LARGEST_ALL))
    for folder in packed.folders:
        _see(found, PurePosixPath(folder))
    for member in packed.files.values():
        if member.size > LARGEST_FILE and not litter(member.name):
            raise DataError(
                f"{found.where}: {member.name!r} unfolds to {member.size} bytes; an image has at most {LARGEST_FILE}; "
                "take it out of the archive"
            )
        _sort(found, member.name, member.read)
    return found


def _see(found: Found, folder: PurePosixPath) -> None:
    """Note a folder, unless an operating system or a program made it."""
    name = "/".join(folder.parts)
    if not (litter(name) or is_hidden(name)):
        found.folders.add(folder)


def _sort(found: Found, name: str, source: Source) -> None:
    """Put a file with those to decode, those left out, or the litter."""
    _see(found, PurePosixPath(name).parent)
    if made_by := litter(name):
        found.litter[made_by] += 1
    elif is_hidden(name):
        found.left_out[name] = HIDDEN
    else:
        found.sources[name] = source


def _read(path: Path) -> bytes:
    if (size := path.stat().st_size) > LARGEST_FILE:
        raise Unreadable(f"it has {size} bytes; an image has at most {LARGEST_FILE}")
    return path.read_bytes()
