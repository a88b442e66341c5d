"""Read prepared and augmented data, every byte checked."""

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
from bnbench.data.manifest import MANIFEST, AugmentedManifest, PartSaid, PreparedManifest, read_manifest, untrusted
from bnbench.params.dataset_schema import Augmentation

PARTS = ("train", "valid", "test")
OFFICIAL = "official"  # a fourth part: the published test set, where `test` was taken out of the training images
TESTS = ("test", OFFICIAL)
ARRAYS = ("images", "labels")
COPIES, SHEET = "copies.npy", "sheet.npy"

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Shape = tuple[int, int, int]  # channels, height, width


class Arrays(NamedTuple):
    """What raw files hold: all images, N x C x H x W, and labels; the published test set's; what the manifest says."""

    images: Images
    labels: Labels
    test_images: Images | None = None
    test_labels: Labels | None = None
    about: dict[str, Any] = {}  # noqa: RUF012 - never changed


@dataclass(frozen=True)
class Part:
    """One part of a split: images, uint8, N x C x H x W; labels, int64, N, from 0 on."""

    images: Images
    labels: Labels


@dataclass(frozen=True)
class Augmented:
    """An augmentation of a data set's training images.

    Its fingerprint, the data set's, its definition; `copies`, uint8, k - 1 x N x C x H x W, none for the online form;
    and `sheet`, uint8, a few images, each with what becomes of it: images x columns x C x H x W.
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
            DataError: a file is missing, altered or not what the manifest says.
        """
        said = AugmentedManifest.model_validate(read_manifest(folder, AugmentedManifest))
        definition, files, copies = said.augmentation, said.files, None
        if (files.copies is None) != (definition.copies == "online"):
            raise untrusted(folder / MANIFEST, f"is of copies: {definition.copies}, with {COPIES} in files or without")
        if files.copies is not None:
            copies = _read_array(folder / COPIES, files.copies, np.uint8, (definition.times - 1, *[None] * 4))
        sheet = _read_array(folder / SHEET, files.sheet, np.uint8, (None,) * 5)
        return cls(said.fingerprint, said.data, definition, copies, sheet)


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
        """What decides a run's data: the fingerprint of these, or of their augmentation."""
        return (self.augmented or self).fingerprint

    @classmethod
    def read(cls, folder: Path, augmented: Path | None = None) -> "Prepared":
        """Load a folder that `prepare` wrote, and one that `augment` wrote from it.

        Raises:
            DataError: a file is missing, altered, truncated, not what the manifest says or one too many; a folder
                holds other data than its name says, or images moved of other data.
        """
        said = PreparedManifest.model_validate(read_manifest(folder))
        parts = {name: part for name in (*PARTS, OFFICIAL) if (part := getattr(said.parts, name))}
        expected = {MANIFEST} | {file_name(part, array) for part in parts for array in ARRAYS}
        found = {path.name for path in folder.iterdir() if path.name[0] != "." and not litter(path.name)}
        extra = found - expected
        if extra:
            raise untrusted(folder / min(extra), "does not belong to the prepared data")
        read: dict[str, Any] = {name: _read_part(folder, name, said) for name in parts}
        more = Augmented.read(augmented) if augmented else None
        if augmented and more and more.data != said.fingerprint:
            raise untrusted(augmented, f"augments data with fingerprint {more.data}, not those in {folder}")
        if augmented and more and more.copies is not None and more.copies.shape[1:] != read["train"].images.shape:
            what = f"holds copies of images {more.copies.shape[1:]}, not of {read['train'].images.shape}"
            raise untrusted(augmented / COPIES, what)
        return cls(said.name, said.fingerprint, said.classes, _shape(said), **read, augmented=more)


def file_name(part: str, array: str) -> str:
    """The file of one array: `train_images.npy`."""
    return f"{part}_{array}.npy"


def save(path: Path, array: Images | Labels) -> str:
    """Write an array; returns its file's sha256.

    By way of memory: written directly, a full disk gives an OSError that does not say so.
    """
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    path.write_bytes(buffer.getbuffer())
    return hashlib.sha256(buffer.getbuffer()).hexdigest()


def _shape(said: PreparedManifest) -> Shape:
    channels, height, width = said.shape
    return channels, height, width


def _read_part(folder: Path, name: str, said: PreparedManifest) -> Part:
    part: PartSaid = getattr(said.parts, name)
    places = [folder / file_name(name, array) for array in ARRAYS]
    images = _read_array(places[0], part.images_sha256, np.uint8, (part.n, *said.shape))
    labels = _read_array(places[1], part.labels_sha256, np.int64, (part.n,))
    if labels.min() < 0 or labels.max() >= said.classes:
        what = f"has labels from {labels.min()} to {labels.max()}; of {said.classes} classes they are from 0 on"
        raise untrusted(places[1], what)
    return Part(images, labels)


def _read_array(path: Path, recorded: str, dtype: DTypeLike, shape: tuple[int | None, ...]) -> Any:
    """An array of this form; None in its shape: any number. Its header is held against that before it is believed."""
    if not path.is_file():
        raise untrusted(path, "is missing")
    seen = checksum(path, "sha256")
    if seen != recorded:
        raise untrusted(path, f"was altered: sha256 {seen}, {path.stat().st_size} bytes; recorded is {recorded}")
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            told, fortran, kind = np.lib.format.read_array_header_1_0(file)
        except ValueError:
            raise untrusted(path, "is no array: its header cannot be read") from None
        size = file.tell() + math.prod(told) * kind.itemsize
        form = len(told) == len(shape) and all(0 < n == (want or n) for want, n in zip(shape, told, strict=True))
        if not form or kind != dtype or fortran or version != (1, 0) or size != path.stat().st_size:
            order = ", columns first," if fortran else ""
            what = f"says that it holds {kind} {told}{order} in {path.stat().st_size} bytes"
            raise untrusted(path, f"{what}; it should hold {np.dtype(dtype)} {shape}")
        return np.fromfile(file, dtype).reshape(told)
