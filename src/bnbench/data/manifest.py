"""Manifests of prepared and augmented data: their schema, their seal (a digest of the content) and reading them."""

import re
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from bnbench.core.errors import DataError
from bnbench.core.files import digest
from bnbench.params.dataset_schema import Augmentation

MANIFEST = "manifest.json"

IDENTIFIED = re.compile(r".+-[0-9a-f]{16}")  # a folder whose name ends in the fingerprint of its data


class _Entry(BaseModel):
    """A mapping of a manifest with the keys that are required; more keys may be present."""

    model_config = ConfigDict(strict=True)


class PartEntry(_Entry):
    """One part of a split: number of images, checksums of its two files."""

    n: PositiveInt
    images_sha256: str
    labels_sha256: str


class _PartEntries(_Entry):
    model_config = ConfigDict(extra="forbid")

    train: PartEntry
    valid: PartEntry
    test: PartEntry
    official: PartEntry | None = None


class PreparedManifest(_Entry):
    """The manifest of prepared data."""

    name: str
    title: str
    licence: str
    format: str
    sources: dict[str, str]
    fingerprint: str
    classes: PositiveInt
    shape: Annotated[list[PositiveInt], Field(min_length=3, max_length=3)]
    parts: _PartEntries


class _FileEntries(_Entry):
    model_config = ConfigDict(extra="forbid")

    copies: str | None = Field(None, alias="copies.npy")
    sheet: str = Field(alias="sheet.npy")


class AugmentedManifest(_Entry):
    """The manifest of augmented images."""

    name: str
    data: str
    fingerprint: str
    augmentation: Augmentation
    files: _FileEntries


def seal(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return `manifest` with the digest of its own content, so that a later edit is detected."""
    content = {key: value for key, value in manifest.items() if key != "digest"}
    return {**content, "digest": digest(content)}


def read_manifest(folder: Path, kind: type[BaseModel] = PreparedManifest) -> dict[str, Any]:
    """Read and verify the manifest of a folder.

    Args:
        folder: a folder that `prepare` or `augment` wrote.
        kind: the schema of the manifest, `PreparedManifest` or `AugmentedManifest`.

    Raises:
        DataError: the manifest is missing or was altered, lacks a key, or belongs to other data than the folder's name
            states.
    """
    path = folder / MANIFEST
    try:
        manifest = orjson.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: no such file, so no data are here; run `bnbench prepare` or `augment`") from None
    except OSError as error:
        raise untrusted(path, f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise untrusted(path, "is not JSON") from None
    if not isinstance(manifest, dict) or seal(manifest) != manifest:
        raise untrusted(path, "was altered: its content does not match its digest")
    try:
        kind.model_validate(manifest)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise untrusted(path, f"is not a manifest of such data: {key}: {first['msg']}") from None
    _check_name(path, manifest, kind)
    return manifest


def _check_name(path: Path, manifest: dict[str, Any], kind: type[BaseModel]) -> None:
    """Check that a folder whose name ends in a fingerprint holds the data with that fingerprint."""
    actual = path.parent.name
    name = manifest["name"] if kind is PreparedManifest else actual[:-17]  # an augmentation's own name is not recorded
    if IDENTIFIED.fullmatch(actual) and actual != f"{name}-{manifest['fingerprint']}":
        raise untrusted(path, f"is of {manifest['name']} with fingerprint {manifest['fingerprint']}, not of {actual}")


def untrusted(path: Path, reason: str) -> DataError:
    """Return the error for a file of a data folder that cannot be trusted, with the remedy."""
    return DataError(f"{path} {reason}; delete the folder {path.parent}, so that it is prepared or augmented again")
