"""Identities of raw, prepared and augmented data: digests that are known before the data exist."""

import re
from pathlib import Path, PurePosixPath
from typing import Any

from bnbench.arithmetic import ARITHMETIC
from bnbench.core.errors import UserError
from bnbench.core.files import digest
from bnbench.core.names import LISTING
from bnbench.params.dataset_schema import Augmentation, Dataset
from bnbench.params.formats import FORMATS

PREPARE_VERSION = 2  # raise it when the same files and split give other arrays

ARCHIVE_VERSION = 2  # raise it when other files are read from the same archive of images

AUGMENT_VERSION = 2  # raise it when the same images and augmentation give other copies


def raw_key(dataset: Dataset) -> str:
    """Return the digest of everything that determines the downloaded files: their names and checksums."""
    return digest(dataset.files)


def fingerprint(dataset: Dataset) -> str:
    """Return the digest of everything that determines the prepared arrays; mirrors, title and licence do not."""
    more: list[Any] = [dataset.shape] if FORMATS[dataset.format].resizes else []  # else the files decide it
    if more and not any(PurePosixPath(name).name == LISTING for name in dataset.files):
        more.append(ARCHIVE_VERSION)
    return digest("prepare", PREPARE_VERSION, dataset.format, dataset.files, dataset.split.model_dump(), *more)


def augmented_fingerprint(dataset: Dataset, augmentation: Augmentation) -> str:
    """Return the digest of everything that determines the augmented copies of a data set's training images."""
    return digest("augment", AUGMENT_VERSION, ARITHMETIC, fingerprint(dataset), augmentation.model_dump())


def check_key(folder: Path, key: str, definition: str) -> None:
    """Check that a folder named `NAME-KEY`, as the workflow names them, has the key of the data to be written there.

    Args:
        folder: the destination.
        key: the digest of everything that determines the data.
        definition: the place of the definition, for the message.

    Raises:
        UserError: the name has another key, so it was planned from another definition.
    """
    named = re.fullmatch(r".+-([0-9a-f]{16})", folder.name)
    if named and named[1] != key:
        raise UserError(
            f"{folder} is named after key {named[1]}, but {definition} has key {key}, so the folder was planned from "
            "another definition; name that parameter file with --params, or give the folder another name"
        )
