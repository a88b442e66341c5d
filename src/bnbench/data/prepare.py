"""Prepare a data set: verify and decode raw files, split them, write arrays and a manifest.

Expect: digits -> 1797 images; MNIST -> 60,000 to train and validate, 10,000 to test.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnbench.core import locks
from bnbench.core.atomic import atomic_folder, filled
from bnbench.core.errors import DataError, UserError
from bnbench.core.files import checksum, write_json
from bnbench.data import prepared
from bnbench.data.checksums import expanded
from bnbench.data.formats.folders import shown
from bnbench.data.formats.readers import reader
from bnbench.data.identity import PREPARE_VERSION, check_key, fingerprint
from bnbench.data.manifest import MANIFEST, read_manifest, seal
from bnbench.data.prepared import OFFICIAL, Arrays, Labels, Part, Prepared
from bnbench.params.dataset_schema import Dataset, Split

Indices = NDArray[np.intp]

# keys of a manifest that hold names (or counts) of files -> what was done to them
NOTED = {
    "left_out": "left out",
    "litter": "ignored as litter of an operating system",
    "turned": "rotated by their EXIF orientation",
    "reduced": "reduced from 16 bits to the upper 8",
    "blended": "blended with white where transparent",
    "first_frame": "animations reduced to their first frame",
    "converted": "converted to grey or RGB",
    "flat": "of one colour",
}


def prepare(name: str, dataset: Dataset, raw: Path | None, out: Path, workers: int = 1) -> dict[str, Any]:
    """Write the arrays of each part and their manifest into folder `out`, and return the manifest.

    The same files and split give the same bytes. An `out` that is already complete is verified and left unchanged.

    Args:
        name: the key of the data set in the parameter file.
        dataset: its declaration.
        raw: the folder that `download` filled; None for a format without files.
        out: the destination.
        workers: number of threads that decode images.

    Raises:
        UserError: files that the format does not read, a split that the data cannot give, other data in `out`, or an
            `out` that is named after others.
        DataError: a raw file is missing, differs from its declared checksum, or breaks its format.
        SystemFault: `out` cannot be written.
    """
    check_key(out, fingerprint(dataset), f"datasets.{name}")
    if filled(out):
        return _existing(name, dataset, out)
    with locks.all_of([locks.of(out)]):  # a second process waits here, and then finds the data complete
        return _existing(name, dataset, out) if filled(out) else _prepare(name, dataset, raw, out, workers)


def _prepare(name: str, dataset: Dataset, raw: Path | None, out: Path, workers: int) -> dict[str, Any]:
    for key, problem in dataset.problems():
        raise UserError(f"datasets.{name}.{key}: {problem}")
    arrays = reader(dataset.format)(_verified(name, dataset, raw), dataset.shape, workers)
    _check_declared(name, dataset, arrays)
    parts, classes = divide(name, arrays, dataset.split), dataset.classes
    shape = parts["train"].images.shape[1:]
    with atomic_folder(out) as folder:
        written = {part: _write_part(folder, part, content, classes) for part, content in parts.items()}
        manifest = arrays.about | _describe(name, dataset) | {"classes": classes, "shape": shape, "parts": written}
        write_json(folder / MANIFEST, seal(manifest))
    return read_manifest(out)


def noted(manifest: Mapping[str, Any]) -> str:
    """Return the conversions of raw files with their counts: "3 left out, 16 reduced from 16 bits to the upper 8"."""
    counts = {key: len(manifest.get(key, ())) for key in NOTED} | {"litter": sum(manifest.get("litter", {}).values())}
    return ", ".join(f"{counts[key]} {words}" for key, words in NOTED.items() if counts[key])


def _existing(name: str, dataset: Dataset, out: Path) -> dict[str, Any]:
    """Verify data that are already in `out` and return their manifest."""
    if not (out / MANIFEST).is_file():
        raise UserError(f"{out} holds something other than prepared data; delete it, or name another folder")
    Prepared.read(out)
    manifest = read_manifest(out)
    actual, wanted = (manifest["name"], manifest["fingerprint"]), (name, fingerprint(dataset))
    if actual != wanted:
        raise UserError(
            f"{out} holds {actual[0]} with fingerprint {actual[1]}, not {wanted[0]} with {wanted[1]}; "
            "delete it, or name another folder"
        )
    return manifest


def _verified(name: str, dataset: Dataset, raw: Path | None) -> dict[str, Path]:
    """Return the paths of the raw files by name, after comparing each with its declared checksum."""
    if dataset.files and raw is None:
        raise UserError(f"{name} is prepared from files; name the folder that `bnbench download` filled")
    declared = expanded(dataset.files, raw or Path())
    files = {file: (raw or Path()) / file for file in declared}
    for file, path in files.items():
        if not path.is_file():
            raise DataError(f"{path}: no such file; run `bnbench download` first")
        algorithm, _, expected = declared[file].partition(":")
        actual = checksum(path, algorithm)
        if actual != expected:
            raise DataError(
                f"{path}: {algorithm} {actual}, {path.stat().st_size} bytes, but datasets.{name}.files "
                f"declares {expected}; delete the file and download it again"
            )
    return files


def _check_declared(name: str, dataset: Dataset, arrays: Arrays) -> None:
    """Check that the data have the declared shape, classes and number of images, on which planning relied."""
    labels = [part for part in (arrays.labels, arrays.test_labels) if part is not None]
    classes = 1 + max(int(part.max(initial=-1)) for part in labels)
    actual = {"shape": arrays.images.shape[1:], "classes": classes, "images": len(arrays.images)}
    for key, value in actual.items():
        declared = getattr(dataset, key)
        if value != declared:
            problem = f"datasets.{name}.{key}: declared is {declared}, the data have {value}"
            raise UserError(f"{problem}{_remedy(key, value, arrays.about)}")


def _remedy(key: str, value: object, about: Mapping[str, Any]) -> str:
    """Return the remedy for a declaration that differs from the data.

    Files that were left out are reported first, because they are more often the fault than the declaration.
    """
    names = f": {', '.join(about['class_names'][:20])}" if key == "classes" and "class_names" in about else ""
    left_out = about.get("left_out") if key == "images" else None
    if not left_out:
        return f"{names}; write {value}"
    kinds = ", ".join(f"{count} x {why}" for why, count in Counter(left_out.values()).most_common(5))
    return (
        f"; left out: {len(left_out)} ({kinds}): {shown(left_out)}. Replace those that should be images, or take them "
        f"out of the data; only where they are to stay left out, write {value}"
    )


def divide(name: str, arrays: Arrays, split: Split) -> dict[str, Part]:
    """Split into train, valid and test, stratified by class, by `split.seed` alone.

    If the test images are taken from the published training images, a published test set becomes a fourth part,
    `official`.

    Raises:
        UserError: the data have too few images, or no published test set.
    """
    images, labels = arrays.images, arrays.labels
    official = None
    if arrays.test_images is not None and arrays.test_labels is not None:
        official = Part(arrays.test_images, arrays.test_labels)
    # RandomState, because its stream never changes; that of a Generator may change with NumPy's version
    random = np.random.RandomState(split.seed)
    rest: Indices = np.arange(len(labels))
    if split.test == "official":
        if official is None:
            raise UserError(f"datasets.{name}.split.test: there is no official test set; give a number of images")
        test, official = official, None
    else:
        rest, taken = _take(f"datasets.{name}.split.test", rest, labels, split.test, random)
        test = Part(images[taken], labels[taken])
    valid = test
    if split.valid != "test":
        rest, taken = _take(f"datasets.{name}.split.valid", rest, labels, split.valid, random)
        valid = Part(images[taken], labels[taken])
    rest = rest[fair_order(labels[rest], random)]
    parts = {"train": Part(images[rest], labels[rest]), "valid": valid, "test": test}
    return parts if official is None else parts | {OFFICIAL: official}


def _take(
    key: str, rest: Indices, labels: Labels, count: int, random: np.random.RandomState
) -> tuple[Indices, Indices]:
    """Divide the images `rest` into those left and `count` taken, each class in proportion to its size."""
    from sklearn.model_selection import train_test_split  # importing scikit-learn takes a second

    per_class = np.unique(labels[rest], return_counts=True)[1]
    least = len(per_class)
    if not least <= count <= len(rest) - least:
        raise UserError(
            f"{key}: {count} of {len(rest)} images cannot be taken; for {least} classes it must be "
            f"from {least} to {len(rest) - least}, so that every part can have each class"
        )
    if per_class.min() < 2:
        raise UserError(f"{key}: a class has a single image, which cannot be split; every class needs two")
    left, taken = train_test_split(rest, test_size=count, stratify=labels[rest], random_state=random)
    return left, taken


def fair_order(labels: Labels, random: np.random.RandomState) -> Indices:
    """Return a random order in which every prefix has each class in proportion: "the first n" is a fair sample.

    The i-th image of a class of k, after shuffling, gets the sort key (i + 1/2) / k; ties are in random order.
    """
    shuffled: Indices = random.permutation(len(labels))
    key = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels[shuffled] == label)
        key[members] = (np.arange(len(members)) + 0.5) / len(members)
    return shuffled[np.lexsort((random.permutation(len(labels)), key))]


def _write_part(folder: Path, part: str, arrays: Part, classes: int) -> dict[str, Any]:
    """Write the two arrays of a part and return its entry in the manifest."""
    return {
        "n": len(arrays.labels),
        "class_counts": np.bincount(arrays.labels, minlength=classes).tolist(),
        "images_sha256": prepared.save(folder / prepared.file_name(part, "images"), arrays.images),
        "labels_sha256": prepared.save(folder / prepared.file_name(part, "labels"), arrays.labels),
    }


def _describe(name: str, dataset: Dataset) -> dict[str, Any]:
    """Return the sources of the data for the manifest. Paths and times are left out: it is the same everywhere."""
    return {
        "name": name,
        "title": dataset.title,
        "licence": dataset.licence,
        "format": dataset.format,
        "sources": dataset.files,
        "split": dataset.split.model_dump(),
        "prepare_version": PREPARE_VERSION,
        "fingerprint": fingerprint(dataset),
    }
