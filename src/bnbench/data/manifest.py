"""Manifests of prepared and augmented data: what they say, sealed by a digest and checked on reading."""

import re
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from bnbench.core.errors import DataError
from bnbench.core.files import digest
from bnbench.params.dataset_schema import Augmentation

MANIFEST = "manifest.json"

IDENTIFIED = re.compile(r".+-[0-9a-f]{16}")  # a folder whose name says which data it holds


class _Said(BaseModel):
    """A part of a manifest, of which at least this is read; more keys may be there."""

    model_config = ConfigDict(strict=True)


class PartSaid(_Said):
    """One part of a split: number of images, checksums of its two files."""

    n: PositiveInt
    images_sha256: str
    labels_sha256: str


class _PartsSaid(_Said):
    model_config = ConfigDict(extra="forbid")

    train: PartSaid
    valid: PartSaid
    test: PartSaid
    official: PartSaid | None = None


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
        raise untrusted(path, f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise untrusted(path, "is no JSON") from None
    if not isinstance(manifest, dict) or seal(manifest) != manifest:
        raise untrusted(path, "was altered: it does not have the digest that it names")
    try:
        kind.model_validate(manifest)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise untrusted(path, f"is no manifest of such data: {key}: {first['msg']}") from None
    _check_name(path, manifest, kind)
    return manifest


def _check_name(path: Path, manifest: dict[str, Any], kind: type[BaseModel]) -> None:
    """A folder whose name says which data it holds must hold those."""
    seen = path.parent.name
    name = manifest["name"] if kind is PreparedManifest else seen[:-17]  # that of the augmentation is not told
    if IDENTIFIED.fullmatch(seen) and seen != f"{name}-{manifest['fingerprint']}":
        raise untrusted(path, f"is of {manifest['name']} with fingerprint {manifest['fingerprint']}, not of {seen}")


def untrusted(path: Path, what: str) -> DataError:
    """Return the error for a file of a data folder that cannot be trusted, with the remedy."""
    return DataError(f"{path} {what}; delete the folder {path.parent}, so that it is prepared or augmented anew")
