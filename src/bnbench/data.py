"""Prepared data: what decides them (known before they exist), and reading them with every byte checked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnbench.errors import DataError
from bnbench.files import checksum, digest, read_json
from bnbench.schema import Dataset

PREPARE_VERSION = 1  # raise it when the same files and split give other arrays
PARTS = ("train", "valid", "test")
ARRAYS = ("images", "labels")
MANIFEST = "manifest.json"

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


def fingerprint(dataset: Dataset) -> str:
    """Hash of what decides the prepared arrays, and of nothing else; mirrors, title and licence may vary."""
    return digest("prepare", PREPARE_VERSION, dataset.format, dataset.files, dataset.split.model_dump())


@dataclass(frozen=True)
class Part:
    """One part of a split: images, uint8, N x C x H x W; labels, int64, N, from 0 on."""

    images: Images
    labels: Labels


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

    @classmethod
    def read(cls, folder: Path) -> "Prepared":
        """Load a folder that `prepare` wrote.

        Raises:
            DataError: a file is missing, altered, truncated or one too many.
        """
        manifest = read_manifest(folder)
        expected = {MANIFEST} | {file_name(part, array) for part in PARTS for array in ARRAYS}
        extra = {path.name for path in folder.iterdir() if path.name[0] != "."} - expected
        if extra:
            raise _untrusted(folder / min(extra), "does not belong to the prepared data")
        parts = {part: _read_part(folder, part, manifest["parts"][part]) for part in PARTS}
        return cls(manifest["name"], manifest["fingerprint"], manifest["classes"], tuple(manifest["shape"]), **parts)


def file_name(part: str, array: str) -> str:
    """The file of one array: `train_images.npy`."""
    return f"{part}_{array}.npy"


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
        raise DataError(f"{path}: no such file, so no data are prepared here; run `bnbench prepare`") from None
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
    return DataError(f"{path} {what}; delete the folder {path.parent} so that it is prepared anew")
