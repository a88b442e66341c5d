"""Prepared and augmented data in memory, read from their folders with every byte verified."""

import hashlib
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bnbench.core.files import checksum
from bnbench.core.names import litter
from bnbench.data.manifest import MANIFEST, AugmentedManifest, PartEntry, PreparedManifest, read_manifest, untrusted
from bnbench.params.dataset_schema import Augmentation

PARTS = ("train", "valid", "test")
OFFICIAL = "official"  # a fourth part: the published test set, if `test` was taken from the training images
TESTS = ("test", OFFICIAL)
ARRAYS = ("images", "labels")
COPIES, SHEET = "copies.npy", "sheet.npy"

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Shape = tuple[int, int, int]  # channels, height, width


class Arrays(NamedTuple):
    """Content of raw files.

    Attributes:
        images: all images but the published test set's, N x C x H x W.
        labels: their N class numbers.
        test_images: the published test set, if there is one.
        test_labels: its labels.
        about: further entries of the manifest.
    """

    images: Images
    labels: Labels
    test_images: Images | None = None
    test_labels: Labels | None = None
    about: dict[str, Any] = {}  # noqa: RUF012 - never changed


@dataclass(frozen=True)
class Part:
    """One part of a split: images, uint8, N x C x H x W; labels, int64, N class numbers from 0."""

    images: Images
    labels: Labels


@dataclass(frozen=True)
class Augmented:
    """An augmentation of a data set's training images.

    Attributes:
        fingerprint: its identity.
        data: the fingerprint of the data set.
        definition: its definition.
        copies: uint8, (times - 1) x N x C x H x W; None for the online form.
        sheet: the contact sheet, uint8, images x columns x C x H x W: images, each followed by transformed versions.
    """

    fingerprint: str
    data: str
    definition: Augmentation
    copies: Images | None
    sheet: Images

    @classmethod
    def read(cls, folder: Path) -> "Augmented":
        """Load a folder that `augment` wrote.

        Raises:
            DataError: a file is missing, was altered or contradicts the manifest.
        """
        manifest = AugmentedManifest.model_validate(read_manifest(folder, AugmentedManifest))
        definition, files, copies = manifest.augmentation, manifest.files, None
        if (files.copies is None) != (definition.copies == "online"):
            raise untrusted(folder / MANIFEST, f"is of copies: {definition.copies}, with {COPIES} in files or without")
        if files.copies is not None:
            copies = _read_array(folder / COPIES, files.copies, np.uint8, (definition.times - 1, *[None] * 4))
        sheet = _read_array(folder / SHEET, files.sheet, np.uint8, (None,) * 5)
        return cls(manifest.fingerprint, manifest.data, definition, copies, sheet)


@dataclass(frozen=True)
class Prepared:
    """A prepared data set: its fingerprint, number of classes, shape of an image (C, H, W), and its parts."""

    name: str
    fingerprint: str
    classes: int
    shape: tuple[int, int, int]
    train: Part
    valid: Part
    test: Part
    official: Part | None = None
    augmented: Augmented | None = None

    @property
    def key(self) -> str:
        """The identity of a run's data: the fingerprint of these, or of their augmentation."""
        return (self.augmented or self).fingerprint

    @classmethod
    def read(cls, folder: Path, augmented: Path | None = None) -> "Prepared":
        """Load a folder that `prepare` wrote, and optionally one that `augment` wrote from it.

        Raises:
            DataError: a file is missing, was altered, contradicts the manifest or does not belong to the data; a folder
                holds other data than its name states, or an augmentation of other data.
        """
        manifest = PreparedManifest.model_validate(read_manifest(folder))
        parts = {name: part for name in (*PARTS, OFFICIAL) if (part := getattr(manifest.parts, name))}
        expected = {MANIFEST} | {file_name(part, array) for part in parts for array in ARRAYS}
        found = {path.name for path in folder.iterdir() if path.name[0] != "." and not litter(path.name)}
        extra = found - expected
        if extra:
            raise untrusted(folder / min(extra), "does not belong to the prepared data")
        read: dict[str, Any] = {name: _read_part(folder, name, manifest) for name in parts}
        more = Augmented.read(augmented) if augmented else None
        if augmented and more and more.data != manifest.fingerprint:
            raise untrusted(augmented, f"augments data with fingerprint {more.data}, not those in {folder}")
        if augmented and more and more.copies is not None and more.copies.shape[1:] != read["train"].images.shape:
            reason = f"holds copies of images {more.copies.shape[1:]}, not of {read['train'].images.shape}"
            raise untrusted(augmented / COPIES, reason)
        return cls(manifest.name, manifest.fingerprint, manifest.classes, _shape(manifest), **read, augmented=more)


def file_name(part: str, array: str) -> str:
    """Return the file name of one array: `train_images.npy`."""
    return f"{part}_{array}.npy"


def save(path: Path, array: Images | Labels) -> str:
    """Write an array and return its file's sha256.

    The bytes are made in memory first: when NumPy writes to a full disk itself, its OSError does not name the cause.
    """
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    path.write_bytes(buffer.getbuffer())
    return hashlib.sha256(buffer.getbuffer()).hexdigest()


def _shape(manifest: PreparedManifest) -> Shape:
    channels, height, width = manifest.shape
    return channels, height, width


def _read_part(folder: Path, name: str, manifest: PreparedManifest) -> Part:
    part: PartEntry = getattr(manifest.parts, name)
    paths = [folder / file_name(name, array) for array in ARRAYS]
    images = _read_array(paths[0], part.images_sha256, np.uint8, (part.n, *manifest.shape))
    labels = _read_array(paths[1], part.labels_sha256, np.int64, (part.n,))
    if labels.min() < 0 or labels.max() >= manifest.classes:
        actual = f"has labels from {labels.min()} to {labels.max()}"
        raise untrusted(paths[1], f"{actual}; for {manifest.classes} classes they are 0 to {manifest.classes - 1}")
    return Part(images, labels)


def _read_array(path: Path, recorded: str, dtype: DTypeLike, shape: tuple[int | None, ...]) -> Any:
    """Read an array after comparing its checksum, and its header with the expected type and shape.

    The header is checked before any memory is allocated from it. None in `shape` allows any positive number.
    """
    if not path.is_file():
        raise untrusted(path, "is missing")
    actual = checksum(path, "sha256")
    if actual != recorded:
        raise untrusted(path, f"was altered: sha256 {actual}, {path.stat().st_size} bytes; recorded is {recorded}")
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            found, fortran, kind = np.lib.format.read_array_header_1_0(file)
        except ValueError:
            raise untrusted(path, "is not an array: its header cannot be read") from None
        size = file.tell() + math.prod(found) * kind.itemsize
        fits = len(found) == len(shape) and all(0 < n == (want or n) for want, n in zip(shape, found, strict=True))
        if not fits or kind != dtype or fortran or version != (1, 0) or size != path.stat().st_size:
            order = ", columns first," if fortran else ""
            header = f"has a header of {kind} {found}{order} in {path.stat().st_size} bytes"
            raise untrusted(path, f"{header}; expected is {np.dtype(dtype)} {shape}")
        return np.fromfile(file, dtype).reshape(found)
