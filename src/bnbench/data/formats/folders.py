"""A folder of images for each class (`PetImages/Cat/0.jpg`), as files or in one zip or tar.

Every file is either read or named in the manifest with the reason why it was not.
"""

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bnbench.core.errors import DataError
from bnbench.core.names import LISTING, is_hidden, litter
from bnbench.data.containers import content
from bnbench.data.formats.decoding import Source, Unreadable, decode
from bnbench.data.prepared import Arrays, Shape

LARGEST_FILE = 1 << 26  # bytes of one image file, unpacked
LARGEST_ALL = 1 << 33  # bytes of all files of an archive, unpacked
HIDDEN = "a hidden file"


@dataclass
class Found:
    """Result of listing the files: what to decode, what is left out and why.

    Attributes:
        origin: the archive or the listing, for messages.
        sources: the files to decode, by name.
        folders: the folders that files lie in.
        left_out: the reason for each file that is not read.
        litter: counts of the files that an operating system made, by kind.
    """

    origin: str
    sources: dict[str, Source] = field(default_factory=dict)
    folders: set[PurePosixPath] = field(default_factory=set)
    left_out: dict[str, str] = field(default_factory=dict)
    litter: Counter[str] = field(default_factory=Counter)


def read(files: Mapping[str, Path], shape: Shape, workers: int) -> Arrays:
    """Return the images scaled to `shape`, sorted by class and name; classes are numbered in alphabetical order.

    Height and width are scaled independently, with Pillow's bilinear filter; `decode` lists the other conversions.
    Files that are not images are left out. The manifest names all of these, except for files that an operating system
    made (`Thumbs.db`), which it counts under `litter`.

    Args:
        files: the listing and what it lists, or one zip or tar.
        shape: channels (1 or 3), height, width.
        workers: number of threads that decode.

    Raises:
        DataError: a class without images, or an archive that cannot be trusted.
    """
    with ExitStack() as stack:
        pool = ThreadPoolExecutor(workers)  # Pillow decodes and resizes without Python's lock
        stack.callback(pool.shutdown, cancel_futures=True)  # after a signal, the remaining images are not decoded
        found = _found(files, stack)
        names = sorted(found.sources, key=lambda name: (_class(name), name))
        images = np.empty((len(names), *shape), np.uint8)
        notes: dict[str, list[str]] = {}
        decoded: list[str] = []
        for name, result in zip(names, pool.map(lambda name: decode(found.sources[name], shape), names), strict=True):
            if result.pixels is None:
                found.left_out[name] = result.fault
                continue
            images[len(decoded)] = result.pixels
            decoded.append(name)
            for note in result.notes:
                notes.setdefault(note, []).append(name)
    classes = _classes(found, decoded)
    labels = np.array([classes.index(_class(name)) for name in decoded], np.int64)
    about: dict[str, Any] = {"class_names": classes, "left_out": dict(sorted(found.left_out.items()))}
    if found.litter:
        about["litter"] = dict(sorted(found.litter.items()))
    return Arrays(images[: len(decoded)], labels, about=about | notes)


def shown(left_out: Mapping[str, str], most: int = 20) -> str:
    """Return the first files that were left out, each with its reason, as one line of text."""
    texts = [f"{name} ({fault})" for name, fault in list(left_out.items())[:most]]
    return ", ".join([*texts, *(["..."] if len(left_out) > most else [])])


def _class(name: str) -> str:
    return PurePosixPath(name).parent.name


def _classes(found: Found, decoded: list[str]) -> list[str]:
    """Return the names of the class folders: the sibling folders that contain the images.

    Raises:
        DataError: the images are not in sibling folders, or a sibling has no readable image.
    """
    homes = {PurePosixPath(name).parent for name in decoded}
    parents = {home.parent if home.parts else None for home in homes}
    siblings = {folder for folder in found.folders if folder.parts and folder.parent in parents}
    if len(parents) == 1 and (empty := sorted(siblings - homes)):
        inside = {name: why for name, why in found.left_out.items() if PurePosixPath(name).parent == empty[0]}
        raise DataError(
            f"{found.origin}: the class folder {empty[0]} has no image that can be read; {len(inside)} files in it "
            f"are left out: {shown(inside) or 'none'}; put images there, or remove the folder"
        )
    if len(parents) != 1 or len(homes) < 2 or None in parents:
        places = ", ".join(sorted(str(home) for home in homes)[:9])
        why = f"; {len(found.left_out)} files are left out: {shown(found.left_out)}" if found.left_out else ""
        raise DataError(
            f"{found.origin}: images must lie in two or more class folders beside each other; "
            f"found in: {places or 'none'}{why}"
        )
    return sorted(home.name for home in homes)


def _found(files: Mapping[str, Path], stack: ExitStack) -> Found:
    """List the files that may be images. Members of an archive can be read until `stack` closes.

    Raises:
        DataError: an archive that cannot be trusted.
    """
    listing = next((name for name in files if PurePosixPath(name).name == LISTING), None)
    if listing is not None:
        found = Found(str(files[listing]))
        for name, path in files.items():
            if PurePosixPath(name).name != LISTING:
                _sort(found, name, partial(_read_file, path))
        return found
    (archive,) = files.values()
    found = Found(str(archive))
    members = stack.enter_context(content(archive, LARGEST_ALL))
    for folder in members.folders:
        _add_folder(found, PurePosixPath(folder))
    for member in members.files.values():
        if member.size > LARGEST_FILE and not litter(member.name):
            raise DataError(
                f"{found.origin}: {member.name!r} has {member.size} bytes unpacked; an image has at most "
                f"{LARGEST_FILE}; take it out of the archive"
            )
        _sort(found, member.name, member.read)
    return found


def _add_folder(found: Found, folder: PurePosixPath) -> None:
    """Record a folder, unless an operating system or a program made it."""
    name = "/".join(folder.parts)
    if not (litter(name) or is_hidden(name)):
        found.folders.add(folder)


def _sort(found: Found, name: str, source: Source) -> None:
    """Assign a file to those to decode, those left out, or the litter."""
    _add_folder(found, PurePosixPath(name).parent)
    if kind := litter(name):
        found.litter[kind] += 1
    elif is_hidden(name):
        found.left_out[name] = HIDDEN
    else:
        found.sources[name] = source


def _read_file(path: Path) -> bytes:
    if (size := path.stat().st_size) > LARGEST_FILE:
        raise Unreadable(f"it has {size} bytes; an image has at most {LARGEST_FILE}")
    return path.read_bytes()
