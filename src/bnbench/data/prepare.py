"""Turn raw files into checked, split arrays. Expect: digits -> 1797 images, MNIST -> 60,000 and 10,000."""

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
from bnbench.data.formats.image_folders import shown
from bnbench.data.formats.table import FORMATS
from bnbench.data.identity import PREPARE_VERSION, check_key, fingerprint
from bnbench.data.manifest import MANIFEST, read_manifest, seal
from bnbench.data.prepared import OFFICIAL, Arrays, Labels, Part, Prepared
from bnbench.params.dataset_schema import Dataset, Split

Indices = NDArray[np.intp]

# keys of a manifest that hold names (or counts) of files -> what was done to them
NOTED = {
    "left_out": "left out",
    "litter": "passed over that a system left (litter)",
    "turned": "turned as their EXIF says",
    "reduced": "reduced from 16 bits to the upper 8",
    "blended": "blended with white where transparent",
    "first_frame": "animations of which the first frame was taken",
    "converted": "converted to grey or RGB",
    "flat": "of one colour",
}


def prepare(name: str, dataset: Dataset, raw: Path | None, out: Path, workers: int = 1) -> dict[str, Any]:
    """Write the arrays of each part and their manifest into folder `out`; returns the manifest.

    The same files and split give the same bytes. Data that are there already are checked and left.

    Raises:
        UserError: a split that the data cannot give, other data in `out`, or an `out` that is named after others.
        DataError: a raw file is missing or not the declared one, or breaks its format.
        SystemFault: `out` cannot be written.
    """
    check_key(out, fingerprint(dataset), f"datasets.{name}")
    if filled(out):
        return _already(name, dataset, out)
    with locks.all_of([locks.of(out)]):  # of two processes the second waits, and finds the data there
        return _already(name, dataset, out) if filled(out) else _made(name, dataset, raw, out, workers)


def _made(name: str, dataset: Dataset, raw: Path | None, out: Path, workers: int) -> dict[str, Any]:
    arrays = FORMATS[dataset.format](_verified(name, dataset, raw), dataset.shape, workers)
    _check_declared(name, dataset, arrays)
    parts, classes = divide(name, arrays, dataset.split), dataset.classes
    shape = parts["train"].images.shape[1:]
    with atomic_folder(out) as folder:
        recorded = {part: _write_part(folder, part, divided, classes) for part, divided in parts.items()}
        manifest = arrays.about | _describe(name, dataset) | {"classes": classes, "shape": shape, "parts": recorded}
        write_json(folder / MANIFEST, seal(manifest))
    return read_manifest(out)


def noted(manifest: Mapping[str, Any]) -> str:
    """Return what was done to raw files besides splitting, counted: "3 left out, 16 reduced from 16 bits"."""
    counts = {key: len(manifest.get(key, ())) for key in NOTED} | {"litter": sum(manifest.get("litter", {}).values())}
    return ", ".join(f"{counts[key]} {words}" for key, words in NOTED.items() if counts[key])


def _already(name: str, dataset: Dataset, out: Path) -> dict[str, Any]:
    if not (out / MANIFEST).is_file():
        raise UserError(f"{out} holds something else than prepared data; delete it, or name another folder")
    Prepared.read(out)
    manifest = read_manifest(out)
    seen, wanted = (manifest["name"], manifest["fingerprint"]), (name, fingerprint(dataset))
    if seen != wanted:
        raise UserError(
            f"{out} holds {seen[0]} with fingerprint {seen[1]}, not {wanted[0]} with {wanted[1]}; "
            "delete it, or name another folder"
        )
    return manifest


def _verified(name: str, dataset: Dataset, raw: Path | None) -> dict[str, Path]:
    """The raw files by name, each with its declared checksum."""
    if dataset.files and raw is None:
        raise UserError(f"{name} is prepared from files; name the folder that `bnbench download` filled")
    declared = expanded(dataset.files, raw or Path())
    files = {file: (raw or Path()) / file for file in declared}
    for file, path in files.items():
        if not path.is_file():
            raise DataError(f"{path}: no such file; run `bnbench download` first")
        algorithm, _, expected = declared[file].partition(":")
        seen = checksum(path, algorithm)
        if seen != expected:
            raise DataError(
                f"{path}: {algorithm} {seen}, {path.stat().st_size} bytes, but datasets.{name}.files "
                f"declares {expected}; delete the file and download it again"
            )
    return files


def _check_declared(name: str, dataset: Dataset, arrays: Arrays) -> None:
    """Check that the data are what planning was told of them."""
    labels = [part for part in (arrays.labels, arrays.test_labels) if part is not None]
    classes = 1 + max(int(part.max()) for part in labels)
    seen = {"shape": arrays.images.shape[1:], "classes": classes, "images": len(arrays.images)}
    for key, value in seen.items():
        declared = getattr(dataset, key)
        if value != declared:
            told = f"datasets.{name}.{key}: declared is {declared}, the data have {value}"
            raise UserError(f"{told}{_remedy(key, value, arrays.about)}")


def _remedy(key: str, value: object, about: Mapping[str, Any]) -> str:
    """What to do where a declaration and the data differ: first about files left out, which may be a fault."""
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

    Where the test images are taken out of those for training, a published test set is a fourth part, `official`.
    """
    images, labels = arrays.images, arrays.labels
    official = None
    if arrays.test_images is not None and arrays.test_labels is not None:
        official = Part(arrays.test_images, arrays.test_labels)
    # RandomState, for its stream is frozen for ever; a Generator's may change with numpy's version.
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
    """Divide the images `rest` into those left and `count` taken, each class by its share."""
    from sklearn.model_selection import train_test_split  # takes a second, and planning imports this module

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
    """A random order of which every beginning has each class by its share: "the first n" is a fair sample.

    The i-th image of a class of k, shuffled, comes at (i + 1/2) / k; equals in random order.
    """
    shuffled: Indices = random.permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels[shuffled] == label)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return shuffled[np.lexsort((random.permutation(len(labels)), place))]


def _write_part(folder: Path, part: str, arrays: Part, classes: int) -> dict[str, Any]:
    return {
        "n": len(arrays.labels),
        "class_counts": np.bincount(arrays.labels, minlength=classes).tolist(),
        "images_sha256": prepared.save(folder / prepared.file_name(part, "images"), arrays.images),
        "labels_sha256": prepared.save(folder / prepared.file_name(part, "labels"), arrays.labels),
    }


def _describe(name: str, dataset: Dataset) -> dict[str, Any]:
    """What the data were made from. No time and no place, so that it is the same everywhere."""
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
