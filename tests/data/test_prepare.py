"""Prepared data: a stratified split, determined by its seed, written completely or not at all, and verified."""

import errno
import gzip
import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from bnbench.core import locks
from bnbench.core.errors import DataError, SystemFault, UserError
from bnbench.core.files import read_json
from bnbench.data.download import download
from bnbench.data.formats.cifar import read_batch
from bnbench.data.identity import fingerprint
from bnbench.data.manifest import read_manifest
from bnbench.data.prepare import divide, fair_order, prepare
from bnbench.data.prepared import PARTS, Arrays, Prepared
from bnbench.params import resolve as parameters
from bnbench.params.dataset_schema import Dataset, Split
from tests.data.formats.test_folders import GOOD

COUNTS = (100, 53, 7)  # images of each class of the toy data
Test = Literal["official"] | int


def digits_set(valid: int = 300, test: Test = 297, seed: int = 0, **changed: Any) -> Dataset:
    split = Split(valid=valid, test=test, seed=seed)
    base = Dataset(
        title="Digits", format="digits", licence="BSD", split=split, shape=(1, 8, 8), classes=10, images=1797
    )
    return base.model_copy(update=changed)


def numbered(counts: tuple[int, ...] = COUNTS) -> tuple[Any, Any, None, None]:
    """Return toy arrays in which the pixels of each image encode its index, sorted by class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    numbers = np.arange(len(labels))
    images = np.stack([numbers // 256, numbers % 256], axis=1).astype(np.uint8)
    return images.reshape(-1, 1, 1, 2), labels, None, None


def numbers_of(images: Any) -> list[int]:
    return [256 * int(high) + int(low) for high, low in images.reshape(-1, 2)]


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the prepared digits."""
    folder = tmp_path_factory.mktemp("data") / "digits"
    prepare("digits", digits_set(), None, folder)
    return folder


@pytest.fixture
def copy(ready: Path, tmp_path: Path) -> Path:
    """Return a copy of the prepared digits, to be damaged."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in ready.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("valid", "test"), [(3, 3), (20, 31), (80, 77), (3, 154)])
def test_a_split_is_a_partition_with_each_class_in_proportion(valid: int, test: int, seed: int) -> None:
    images, labels, *_ = numbered()
    parts = divide("toy", Arrays(images, labels), Split(valid=valid, test=test, seed=seed))
    assert sorted(n for part in parts.values() for n in numbers_of(part.images)) == list(range(160))
    assert [len(parts[part].labels) for part in PARTS] == [160 - valid - test, valid, test]
    assert all(np.array_equal(part.labels, labels[numbers_of(part.images)]) for part in parts.values())
    left = np.array(COUNTS)
    for name in ("test", "valid"):  # the validation images are drawn from those that are not test images
        counts = np.bincount(parts[name].labels, minlength=3)
        assert np.all(np.abs(counts - left * counts.sum() / left.sum()) < 1)
        left = left - counts


def test_an_official_test_set_stays_as_published() -> None:
    images, labels, *_ = numbered()
    parts = divide("toy", Arrays(images, labels, images[:9], labels[:9]), Split(valid=20, test="official", seed=3))
    assert numbers_of(parts["test"].images) == list(range(9))
    others = numbers_of(parts["train"].images) + numbers_of(parts["valid"].images)
    assert sorted(others) == list(range(160))


@pytest.mark.parametrize("counts", [COUNTS, (60,) * 10, (5, 500), (1, 1, 1)])
def test_every_prefix_of_the_training_images_is_a_fair_sample(counts: tuple[int, ...]) -> None:
    labels = numbered(counts)[1]
    ordered = labels[fair_order(labels, np.random.RandomState(0))]
    seen = np.cumsum(np.eye(len(counts))[ordered], axis=0)
    fair = np.outer(np.arange(1, len(labels) + 1), np.array(counts) / len(labels))
    assert np.abs(seen - fair).max() < 1.5


def test_the_fair_order_is_random_within_and_across_classes() -> None:
    labels = numbered((50, 50))[1]
    orders = [fair_order(labels, np.random.RandomState(seed)).tolist() for seed in range(2)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == list(range(100))
    assert [n for n in orders[0] if n < 50] != list(range(50))
    assert 10 < sum(labels[orders[0]][::2]) < 40  # either class may come first in a pair


def test_the_bytes_depend_on_the_seed_of_the_split(ready: Path, tmp_path: Path) -> None:
    prepare("digits", digits_set(), None, tmp_path / "again")
    prepare("digits", digits_set(seed=1), None, tmp_path / "other")
    assert contents(tmp_path / "again") == contents(ready)
    other = contents(tmp_path / "other")
    assert all(other[name] != digest for name, digest in contents(ready).items())


def test_the_global_random_state_neither_matters_nor_changes(ready: Path, tmp_path: Path) -> None:
    np.random.seed(12345)
    prepare("digits", digits_set(), None, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(ready)
    assert np.random.random() == np.random.RandomState(12345).random()


def test_the_arrays_match_the_manifest(ready: Path) -> None:
    manifest, prepared = read_manifest(ready), Prepared.read(ready)
    assert (prepared.name, prepared.classes, prepared.shape) == ("digits", 10, (1, 8, 8))
    for name, n in (("train", 1200), ("valid", 300), ("test", 297)):
        part = getattr(prepared, name)
        assert (part.images.dtype, part.images.shape) == (np.uint8, (n, 1, 8, 8))
        assert (part.labels.dtype, part.labels.shape) == (np.int64, (n,))
        recorded = manifest["parts"][name]
        assert (recorded["n"], recorded["class_counts"]) == (n, np.bincount(part.labels).tolist())
    assert manifest["fingerprint"] == fingerprint(digits_set())
    assert manifest["split"] == {"valid": 300, "test": 297, "seed": 0}


def test_the_manifest_contains_no_path_and_no_time(ready: Path) -> None:
    assert set(read_json(ready / "manifest.json")) == {
        *("name", "title", "licence", "format", "sources", "split", "prepare_version", "fingerprint"),
        *("classes", "shape", "parts", "digest"),
    }
    assert str(ready.parent) not in (ready / "manifest.json").read_text()


def test_the_fingerprint_depends_on_what_determines_the_arrays_and_on_nothing_else() -> None:
    base = digits_set()
    files = {"a.gz": "md5:" + "0" * 32}
    same = digits_set(title="Other", licence="other", mirrors=["https://example.org"])
    assert fingerprint(same) == fingerprint(base)
    others = [
        *(digits_set(seed=1), digits_set(valid=299), digits_set(test=298), digits_set(test="official")),
        *(digits_set(format="idx"), digits_set(files=files), digits_set(files={"a.gz": "md5:" + "1" * 32})),
    ]
    assert len({fingerprint(dataset) for dataset in [base, *others]}) == 1 + len(others)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (digits_set(test="official"), r"datasets\.digits\.split\.test: there is no official test set"),
        (digits_set(test=1790), r"split\.test: 1790 of 1797 images .* from 10 to 1787"),
        (digits_set(test=9), r"split\.test: 9 of 1797"),
        (digits_set(valid=1491), r"split\.valid: 1491 of 1500 images .* from 10 to 1490"),
        (digits_set(valid=9), r"split\.valid: 9 of 1500"),
    ],
)
def test_an_impossible_split_is_explained(tmp_path: Path, dataset: Dataset, message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepare("digits", dataset, None, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [locks.NAME]


def test_a_class_of_one_image_is_explained() -> None:
    with pytest.raises(UserError, match="a class has a single image"):
        divide("toy", Arrays(*numbered((5, 1))), Split(valid=2, test=2, seed=0))


@pytest.mark.parametrize(
    ("error", "shown"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(errno.ENOSPC, "No space left"), SystemFault)],
)
def test_an_interrupted_prepare_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, shown: type[BaseException]
) -> None:
    def stop(*_: object) -> None:
        raise error

    monkeypatch.setattr("bnbench.data.prepare.write_json", stop)
    with pytest.raises(shown):
        prepare("digits", digits_set(), None, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [locks.NAME]


def test_existing_prepared_data_are_left_unchanged(copy: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.iterdir()}
    assert prepare("digits", digits_set(), None, copy) == read_manifest(copy)
    assert {path: path.stat().st_mtime_ns for path in copy.iterdir()} == before


def test_other_data_in_the_folder_are_refused(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds digits with fingerprint"):
        prepare("digits", digits_set(seed=1), None, copy)
    with pytest.raises(UserError, match="something other than prepared data"):
        prepare("digits", digits_set(), None, tmp_path)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [zero, flip, truncate, empty, Path.unlink])
@pytest.mark.parametrize("file", ["train_images.npy", "valid_labels.npy", "manifest.json"])
def test_damage_is_detected_and_named(copy: Path, file: str, damage: Callable[[Path], None]) -> None:
    damage(copy / file)
    with pytest.raises(DataError, match=file.replace(".", r"\.")) as caught:
        Prepared.read(copy)
    assert "prepare" in str(caught.value)


def test_an_edited_manifest_and_an_extra_file_are_detected(copy: Path) -> None:
    (copy / "more.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"more\.npy does not belong"):
        Prepared.read(copy)
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text.replace('"classes": 10', '"classes": 11'))
    with pytest.raises(DataError, match="was altered"):
        read_manifest(copy)


def toy_files(folder: Path) -> Dataset:
    """Write a small MNIST and return its declaration: 40 images of 2 x 2 pixels in 4 classes, and 8 test images."""
    checksums = {}
    for part, n in (("train", 40), ("t10k", 8)):
        images = struct.pack(">4I", 2051, n, 2, 2) + bytes(range(4 * n))
        labels = struct.pack(">2I", 2049, n) + bytes(index % 4 for index in range(n))
        for kind, content in (("images", images), ("labels", labels)):
            packed = gzip.compress(content, mtime=0)
            (folder / f"{part}-{kind}.gz").write_bytes(packed)
            checksums[f"{part}-{kind}.gz"] = "sha256:" + hashlib.sha256(packed).hexdigest()
    split = Split(valid=8, test="official", seed=0)
    declared: dict[str, Any] = {"shape": (1, 2, 2), "classes": 4, "images": 40}
    return Dataset(title="Toy", format="idx", licence="none", files=checksums, split=split, **declared)


def test_idx_files_are_prepared(tmp_path: Path) -> None:
    prepare("toy", toy_files(tmp_path), tmp_path, tmp_path / "out")
    prepared = Prepared.read(tmp_path / "out")
    assert np.bincount(prepared.valid.labels).tolist() == [2, 2, 2, 2]
    assert prepared.test.images.ravel().tolist() == list(range(32))
    pairs = zip(prepared.train.images, prepared.train.labels, strict=True)
    assert all(image[0, 0, 0] // 4 % 4 == label for image, label in pairs)


def test_with_test_images_from_the_training_set_the_published_ones_are_a_fourth_part(tmp_path: Path) -> None:
    dataset = toy_files(tmp_path).model_copy(update={"split": Split(valid="test", test=12, seed=0)})
    manifest = prepare("toy", dataset, tmp_path, tmp_path / "out")
    prepared = Prepared.read(tmp_path / "out")
    assert {name: part["n"] for name, part in manifest["parts"].items()} == {
        "train": 28,
        "valid": 12,
        "test": 12,
        "official": 8,
    }
    assert prepared.official is not None
    assert prepared.official.images.ravel().tolist() == list(range(32))
    assert np.bincount(prepared.test.labels).tolist() == [3] * 4
    assert np.array_equal(prepared.valid.images, prepared.test.images)
    first = [int(image[0, 0, 0]) // 4 for part in (prepared.train, prepared.test) for image in part.images]
    assert sorted(first) == list(range(40))
    assert dataset.train_images == 28


def test_the_archive_is_not_part_of_the_fingerprint(tmp_path: Path) -> None:
    dataset = toy_files(tmp_path)
    assert fingerprint(dataset.model_copy(update={"archive": {"a.tar": "md5:" + "0" * 32}})) == fingerprint(dataset)


def test_the_size_that_images_are_scaled_to_is_part_of_the_fingerprint() -> None:
    of: dict[str, Any] = {"format": "folders", "files": {"a/SHA256SUMS": "md5:" + "0" * 32}}
    assert fingerprint(digits_set(**of, shape=(3, 32, 32))) != fingerprint(digits_set(**of, shape=(3, 224, 224)))


def pets(folder: Path, contents: dict[str, bytes]) -> Dataset:
    """Write a folder of images with its listing and return the declaration."""
    lines = []
    for name, content in contents.items():
        (folder / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "pets" / name).write_bytes(content)
        lines.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    (folder / "pets/SHA256SUMS").write_text("".join(lines))
    files = {"pets/SHA256SUMS": "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()}
    declared: dict[str, Any] = {"shape": (3, 8, 6), "classes": 2, "images": 8, "files": files}
    return Dataset(
        title="Pets", format="folders", licence="none", split=Split(valid="test", test=2, seed=0), **declared
    )


def test_a_folder_of_images_is_prepared_and_files_left_out_are_recorded(tmp_path: Path) -> None:
    dataset = pets(tmp_path, GOOD | {"PetImages/Dog/bad.jpg": b""})
    manifest = prepare("pets", dataset, tmp_path, tmp_path / "out", 2)
    assert manifest["class_names"] == ["Catty", "Dog"]
    assert manifest["left_out"] == {"pets/PetImages/Dog/bad.jpg": "an empty file"}
    assert manifest["parts"]["train"]["class_counts"] == [3, 3]
    assert Prepared.read(tmp_path / "out").train.images.shape == (6, 3, 8, 6)


def test_an_unexpected_broken_image_is_an_error_that_names_it(tmp_path: Path) -> None:
    broken = GOOD | {"PetImages/Dog/0.jpg": b"no image"}
    with pytest.raises(
        UserError, match=r"images: declared is 8, the data have 7; left out: 1 \(1 x .* pets/PetImages/Dog/0\.jpg \("
    ):
        prepare("pets", pets(tmp_path, broken), tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_image_with_another_checksum_than_listed_is_named(tmp_path: Path) -> None:
    dataset = pets(tmp_path, GOOD)
    flip(tmp_path / "pets/PetImages/Dog/2.jpg")
    with pytest.raises(DataError, match=r"Dog/2\.jpg: sha256 .* declares"):
        prepare("pets", dataset, tmp_path, tmp_path / "out")
    (tmp_path / "pets/PetImages/Dog/2.jpg").unlink()
    with pytest.raises(DataError, match=r"Dog/2\.jpg: no such file"):
        prepare("pets", dataset, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_raw_files_are_verified_before_they_are_read(tmp_path: Path) -> None:
    dataset = toy_files(tmp_path)
    with pytest.raises(UserError, match="bnbench download"):
        prepare("toy", dataset, None, tmp_path / "out")
    flip(tmp_path / "train-images.gz")
    with pytest.raises(DataError, match=r"train-images\.gz: sha256 .* declares"):
        prepare("toy", dataset, tmp_path, tmp_path / "out")
    (tmp_path / "train-images.gz").unlink()
    with pytest.raises(DataError, match=r"train-images\.gz: no such file"):
        prepare("toy", dataset, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


MNIST = {
    "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
}


REAL = pytest.mark.skipif("BNBENCH_MIRROR" not in os.environ, reason="BNBENCH_MIRROR names no folder with data sets")


def declared(name: str) -> Dataset:
    """Return a data set declared in the project's parameter file."""
    from tests.support.little import ROOT

    return parameters.dataset(ROOT / "params.yaml", name)


@REAL
def test_cifar10_is_split_as_published_and_has_its_published_test_set(tmp_path: Path) -> None:
    dataset = declared("cifar10")
    download("cifar10", dataset, tmp_path / "raw")
    manifest = prepare("cifar10", dataset, tmp_path / "raw", tmp_path / "out")
    counts = {name: part["class_counts"] for name, part in manifest["parts"].items()}
    assert counts == {"train": [4500] * 10, "valid": [500] * 10, "test": [500] * 10, "official": [1000] * 10}
    assert manifest["class_names"][3:6] == ["cat", "deer", "dog"]
    train = Prepared.read(tmp_path / "out").train.images[:5000]
    # standard deviations per channel published for the 50,000 images; the common 0.2023 ... is another quantity
    assert train.mean((0, 2, 3)) / 255 == pytest.approx([0.4914, 0.4822, 0.4465], abs=5e-3)
    assert train.std((0, 2, 3)) / 255 == pytest.approx([0.2470, 0.2435, 0.2616], abs=5e-3)


@REAL
def test_a_published_batch_is_read_as_pickle_reads_it(tmp_path: Path) -> None:
    import pickle

    dataset = declared("cifar10")
    download("cifar10", dataset, tmp_path)
    path = tmp_path / "cifar-10-batches-py/data_batch_4"
    images, labels = read_batch(path, 10)
    known = pickle.loads(path.read_bytes(), encoding="latin-1")  # its md5 is the published one
    assert np.array_equal(images.reshape(10_000, -1), known["data"])
    assert labels.tolist() == known["labels"]


@REAL
@pytest.mark.slow
def test_cats_and_dogs_are_prepared_in_both_sizes_from_one_folder(tmp_path: Path) -> None:
    small, large = declared("catsdogs32"), declared("catsdogs224")
    assert small.files == large.files
    download("catsdogs32", small, tmp_path / "raw")
    for name, dataset in (("catsdogs32", small), ("catsdogs224", large)):
        manifest = prepare(name, dataset, tmp_path / "raw", tmp_path / name, 2)
        assert manifest["class_names"] == ["Cat", "Dog"]
        assert manifest["parts"]["test"]["class_counts"] == [300, 300]
        assert manifest["left_out"] == {}
        assert manifest["flat"] == ["catsdogs/PetImages/Cat/835.jpg"]
        assert tuple(manifest["shape"]) == dataset.shape


@REAL
def test_mnist_has_its_published_counts(tmp_path: Path) -> None:
    split = Split(valid=10_000, test="official", seed=0)
    declared: dict[str, Any] = {"shape": (1, 28, 28), "classes": 10, "images": 60_000}
    dataset = Dataset(title="MNIST", format="idx", licence="CC BY-SA 3.0", files=MNIST, split=split, **declared)
    download("mnist", dataset, tmp_path / "raw")
    manifest = prepare("mnist", dataset, tmp_path / "raw", tmp_path / "out")
    published = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    counts = {part: np.array(manifest["parts"][part]["class_counts"]) for part in PARTS}
    assert (counts["train"] + counts["valid"]).tolist() == published
    assert counts["test"].tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.all(np.abs(counts["valid"] - np.array(published) / 6) < 1)
    assert Prepared.read(tmp_path / "out").train.images.shape == (50_000, 1, 28, 28)
