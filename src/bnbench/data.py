"""Prepared data: what decides them (known before they exist), and reading them with every byte checked."""

import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bnbench.errors import DataError, UserError
from bnbench.files import checksum, digest, read_json
from bnbench.schema import Augmentation, Dataset

PREPARE_VERSION = 2  # raise it when the same files and split give other arrays
AUGMENT_VERSION = 1  # raise it when the same images and augmentation give other copies
PARTS = ("train", "valid", "test")
OFFICIAL = "official"  # a fourth part: the published test set, where `test` was taken out of the training images
TESTS = ("test", OFFICIAL)
ARRAYS = ("images", "labels")
MANIFEST = "manifest.json"
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


def raw_key(dataset: Dataset) -> str:
    """Hash of what decides the downloaded files: their names and checksums."""
    return digest(dataset.files)


def fingerprint(dataset: Dataset) -> str:
    """Hash of what decides the prepared arrays, and of nothing else; mirrors, title and licence may vary."""
    size = [dataset.shape] if dataset.format == "folders" else []  # elsewhere the files say it
    return digest("prepare", PREPARE_VERSION, dataset.format, dataset.files, dataset.split.model_dump(), *size)


def augmented_fingerprint(dataset: Dataset, augmentation: Augmentation) -> str:
    """Hash of what decides the moved copies of a data set's training images."""
    return digest("augment", AUGMENT_VERSION, fingerprint(dataset), augmentation.model_dump())


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
            DataError: a file is missing or altered.
        """
        manifest = read_manifest(folder)
        arrays = {name: _read_array(folder / name, recorded) for name, recorded in manifest["files"].items()}
        definition = Augmentation.model_validate(manifest["augmentation"])
        return cls(manifest["fingerprint"], manifest["data"], definition, arrays.get(COPIES), arrays[SHEET])


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
            DataError: a file is missing, altered, truncated or one too many.
        """
        manifest = read_manifest(folder)
        expected = {MANIFEST} | {file_name(part, array) for part in manifest["parts"] for array in ARRAYS}
        extra = {path.name for path in folder.iterdir() if path.name[0] != "."} - expected
        if extra:
            raise _untrusted(folder / min(extra), "does not belong to the prepared data")
        parts: dict[str, Any] = {name: _read_part(folder, name, part) for name, part in manifest["parts"].items()}
        more = Augmented.read(augmented) if augmented else None
        if augmented and more and more.data != manifest["fingerprint"]:
            raise _untrusted(augmented, f"augments data with fingerprint {more.data}, not those in {folder}")
        known = manifest["name"], manifest["fingerprint"], manifest["classes"], tuple(manifest["shape"])
        return cls(*known, **parts, augmented=more)


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


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a prepared folder.

    Raises:
        DataError: there is none, or it was altered.
    """
    path = folder / MANIFEST
    try:
        manifest = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: no such file, so no data are here; run `bnbench prepare` or `augment`") from None
    except ValueError:
        raise _untrusted(path, "is no JSON") from None
    if not isinstance(manifest, dict) or seal(manifest) != manifest:
        raise _untrusted(path, "was altered: it does not have the digest that it names")
    return manifest


def _read_part(folder: Path, part: str, recorded: dict[str, Any]) -> Part:
    return Part(*(_read_array(folder / file_name(part, array), recorded[f"{array}_sha256"]) for array in ARRAYS))


def _read_array(path: Path, recorded: str) -> Any:
    if not path.is_file():
        raise _untrusted(path, "is missing")
    seen = checksum(path, "sha256")
    if seen != recorded:
        raise _untrusted(path, f"was altered: sha256 {seen}, {path.stat().st_size} bytes; recorded is {recorded}")
    return np.load(path, allow_pickle=False)


def _untrusted(path: Path, what: str) -> DataError:
    return DataError(f"{path} {what}; delete the folder {path.parent}, so that it is prepared or augmented anew")
