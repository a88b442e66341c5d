"""Prepared data: what decides them (known before they exist), and reading them with every byte checked."""

import hashlib
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import DTypeLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from bnbench.core.errors import DataError, UserError
from bnbench.core.files import checksum, digest
from bnbench.core.names import LISTING, litter
from bnbench.params.schema import Augmentation, Dataset

PREPARE_VERSION = 2  # raise it when the same files and split give other arrays
ARCHIVE_VERSION = 2  # raise it when of the same archive of images other files are read
AUGMENT_VERSION = 1  # raise it when the same images and augmentation give other copies
PARTS = ("train", "valid", "test")
OFFICIAL = "official"  # a fourth part: the published test set, where `test` was taken out of the training images
TESTS = ("test", OFFICIAL)
ARRAYS = ("images", "labels")
MANIFEST = "manifest.json"
COPIES, SHEET = "copies.npy", "sheet.npy"
IDENTIFIED = re.compile(r".+-[0-9a-f]{16}")  # a folder whose name says which data it holds

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


def raw_key(dataset: Dataset) -> str:
    """Hash of what decides the downloaded files: their names and checksums."""
    return digest(dataset.files)


def fingerprint(dataset: Dataset) -> str:
    """Hash of what decides the prepared arrays, and of nothing else; mirrors, title and licence may vary."""
    more: list[Any] = [dataset.shape] if dataset.format == "folders" else []  # elsewhere the files say it
    if more and not any(PurePosixPath(name).name == LISTING for name in dataset.files):
        more.append(ARCHIVE_VERSION)
    return digest("prepare", PREPARE_VERSION, dataset.format, dataset.files, dataset.split.model_dump(), *more)


def augmented_fingerprint(dataset: Dataset, augmentation: Augmentation) -> str:
    """Hash of what decides the moved copies of a data set's training images."""
    return digest("augment", AUGMENT_VERSION, fingerprint(dataset), augmentation.model_dump())


class _Said(BaseModel):
    """A part of a manifest, of which at least this is read; more keys may be there."""

    model_config = ConfigDict(strict=True)


class _PartSaid(_Said):
    n: PositiveInt
    images_sha256: str
    labels_sha256: str


class _PartsSaid(_Said):
    model_config = ConfigDict(extra="forbid")

    train: _PartSaid
    valid: _PartSaid
    test: _PartSaid
    official: _PartSaid | None = None


class PreparedManifest(_Said):
    """The manifest of prepared data."""

    name: str
    title: str
    licence: str
    format: str
    sources: dict[str, str]
    fingerprint: str
    classes: PositiveInt
    shape: Annotated[list[PositiveInt], Field(min_length=3, max_length=3)]
    parts: _PartsSaid


class _FilesSaid(_Said):
    model_config = ConfigDict(extra="forbid")

    copies: str | None = Field(None, alias="copies.npy")
    sheet: str = Field(alias="sheet.npy")


class AugmentedManifest(_Said):
    """The manifest of moved images."""

    name: str
    data: str
    fingerprint: str
    augmentation: Augmentation
    files: _FilesSaid


def check_key(folder: Path, key: str, definition: str) -> None:
    """Check that a folder whose name ends in a key, as the workflow gives them, has the key of what it is filled with.

    Args:
        folder: where something is to be written.
        key: the hash of what decides that.
        definition: where it is defined, for the message.

    Raises:
        UserError: the name carries another key, so it was planned from another definition.
    """
    named = re.fullmatch(r".+-([0-9a-f]{16})", folder.name)
    if named and named[1] != key:
        raise UserError(
            f"{folder} is named after key {named[1]}, but {definition} has key {key}, so the folder was planned from "
            "another definition; name that parameter file with --params, or give the folder another name"
        )


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
            raise _untrusted(folder / MANIFEST, f"is of copies: {definition.copies}, with {COPIES} in files or without")
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
            raise _untrusted(folder / min(extra), "does not belong to the prepared data")
        read: dict[str, Any] = {name: _read_part(folder, name, said) for name in parts}
        more = Augmented.read(augmented) if augmented else None
        if augmented and more and more.data != said.fingerprint:
            raise _untrusted(augmented, f"augments data with fingerprint {more.data}, not those in {folder}")
        if augmented and more and more.copies is not None and more.copies.shape[1:] != read["train"].images.shape:
            what = f"holds copies of images {more.copies.shape[1:]}, not of {read['train'].images.shape}"
            raise _untrusted(augmented / COPIES, what)
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


def seal(manifest: dict[str, Any]) -> dict[str, Any]:
    """`manifest` with the hash of its own content, so that an edited one is noticed."""
    content = {key: value for key, value in manifest.items() if key != "digest"}
    return {**content, "digest": digest(content)}


def read_manifest(folder: Path, kind: type[BaseModel] = PreparedManifest) -> dict[str, Any]:
    """The manifest of a folder of prepared data or, as `kind` says, of moved images.

    Raises:
        DataError: there is none, it was altered, lacks a key, or is of other data than the folder's name says.
    """
    path = folder / MANIFEST
    try:
        manifest = orjson.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: no such file, so no data are here; run `bnbench prepare` or `augment`") from None
    except OSError as error:
        raise _untrusted(path, f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise _untrusted(path, "is no JSON") from None
    if not isinstance(manifest, dict) or seal(manifest) != manifest:
        raise _untrusted(path, "was altered: it does not have the digest that it names")
    try:
        kind.model_validate(manifest)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise _untrusted(path, f"is no manifest of such data: {key}: {first['msg']}") from None
    _check_name(path, manifest, kind)
    return manifest


def _check_name(path: Path, manifest: dict[str, Any], kind: type[BaseModel]) -> None:
    """A folder whose name says which data it holds must hold those."""
    seen = path.parent.name
    name = manifest["name"] if kind is PreparedManifest else seen[:-17]  # that of the augmentation is not told
    if IDENTIFIED.fullmatch(seen) and seen != f"{name}-{manifest['fingerprint']}":
        raise _untrusted(path, f"is of {manifest['name']} with fingerprint {manifest['fingerprint']}, not of {seen}")


def _shape(said: PreparedManifest) -> Shape:
    channels, height, width = said.shape
    return channels, height, width


def _read_part(folder: Path, name: str, said: PreparedManifest) -> Part:
    part: _PartSaid = getattr(said.parts, name)
    places = [folder / file_name(name, array) for array in ARRAYS]
    images = _read_array(places[0], part.images_sha256, np.uint8, (part.n, *said.shape))
    labels = _read_array(places[1], part.labels_sha256, np.int64, (part.n,))
    if labels.min() < 0 or labels.max() >= said.classes:
        what = f"has labels from {labels.min()} to {labels.max()}; of {said.classes} classes they are from 0 on"
        raise _untrusted(places[1], what)
    return Part(images, labels)


def _read_array(path: Path, recorded: str, dtype: DTypeLike, shape: tuple[int | None, ...]) -> Any:
    """An array of this form; None in its shape: any number. Its header is held against that before it is believed."""
    if not path.is_file():
        raise _untrusted(path, "is missing")
    seen = checksum(path, "sha256")
    if seen != recorded:
        raise _untrusted(path, f"was altered: sha256 {seen}, {path.stat().st_size} bytes; recorded is {recorded}")
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            told, fortran, kind = np.lib.format.read_array_header_1_0(file)
        except ValueError:
            raise _untrusted(path, "is no array: its header cannot be read") from None
        size = file.tell() + math.prod(told) * kind.itemsize
        form = len(told) == len(shape) and all(0 < n == (want or n) for want, n in zip(shape, told, strict=True))
        if not form or kind != dtype or fortran or version != (1, 0) or size != path.stat().st_size:
            order = ", columns first," if fortran else ""
            what = f"says that it holds {kind} {told}{order} in {path.stat().st_size} bytes"
            raise _untrusted(path, f"{what}; it should hold {np.dtype(dtype)} {shape}")
        return np.fromfile(file, dtype).reshape(told)


def _untrusted(path: Path, what: str) -> DataError:
    return DataError(f"{path} {what}; delete the folder {path.parent}, so that it is prepared or augmented anew")
