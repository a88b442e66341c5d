"""False manifests and array headers with correct digests: refused by name, with the remedy."""

import hashlib
import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnbench.core.errors import DataError
from bnbench.core.files import read_json, write_json
from bnbench.data.manifest import MANIFEST, read_manifest, seal
from bnbench.data.prepared import Augmented, Prepared
from bnbench.plan.plan import Plan
from tests.faults.trainings import begun, train_command


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    begun(folder := tmp_path_factory.mktemp("made") / "project")
    return folder


@pytest.fixture
def folders(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Return the folders of prepared data and of their augmented images, in a copy of a project."""
    subprocess.run(["cp", "-r", made, tmp_path], check=True)
    monkeypatch.chdir(tmp_path / "project")
    pack = Plan(Path("params.yaml")).packs[0]
    return Path(pack.data), Path(str(pack.augmented))


def reseal(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest and renew its digest."""
    manifest = read_json(folder / MANIFEST)
    change(manifest)
    write_json(folder / MANIFEST, seal(manifest))


def parent(manifest: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """Return the mapping that contains a key such as `parts/train/n`, and the last name of the key."""
    *above, last = key.split("/")
    for name in above:
        manifest = manifest[name]
    return manifest, last


def without(key: str) -> Callable[[dict[str, Any]], object]:
    def change(manifest: dict[str, Any]) -> None:
        mapping, last = parent(manifest, key)
        del mapping[last]

    return change


def put(key: str, value: Any) -> Callable[[dict[str, Any]], object]:
    def change(manifest: dict[str, Any]) -> None:
        mapping, last = parent(manifest, key)
        mapping[last] = value

    return change


PART = ("parts", "parts/train", "parts/valid", "parts/test", "parts/train/n", "parts/test/labels_sha256")
KEYS = ("name", "title", "licence", "format", "sources", "fingerprint", "classes", "shape", *PART)
WRONG = {"name": 7, "classes": "ten", "shape": [1, 8], "parts": [], "parts/train/n": -1, "sources": "none"}


@pytest.mark.parametrize("key", KEYS)
def test_a_manifest_without_a_key_is_refused(folders: tuple[Path, Path], key: str) -> None:
    prepared, _ = folders
    reseal(prepared, without(key))
    place = key.replace("/", ".")
    expected = (
        rf"{MANIFEST} is not a manifest of such data: {place}: Field required; delete the folder {prepared}, so that"
    )
    for read in (read_manifest, Prepared.read):
        with pytest.raises(DataError, match=expected):
            read(prepared)


@pytest.mark.parametrize("key", WRONG)
def test_a_manifest_with_a_value_of_another_type_is_refused(folders: tuple[Path, Path], key: str) -> None:
    prepared, _ = folders
    reseal(prepared, put(key, WRONG[key]))
    with pytest.raises(DataError, match=rf"{MANIFEST} is not a manifest of such data: {key.replace('/', '.')}"):
        Prepared.read(prepared)


@pytest.mark.parametrize("key", ["name", "data", "fingerprint", "augmentation", "files", "files/sheet.npy"])
def test_a_manifest_of_augmented_images_without_a_key_is_refused(folders: tuple[Path, Path], key: str) -> None:
    prepared, augmented = folders
    reseal(augmented, without(key))
    with pytest.raises(DataError, match=rf"{MANIFEST} is not a manifest of such data: {key.replace('/', '.')}"):
        Augmented.read(augmented)
    with pytest.raises(DataError, match=rf"{MANIFEST} is not a manifest of such data: {key.replace('/', '.')}"):
        Prepared.read(prepared, augmented)


def test_one_kind_of_folder_is_not_taken_for_the_other(folders: tuple[Path, Path]) -> None:
    prepared, augmented = folders
    for read in (lambda: Prepared.read(augmented), lambda: Augmented.read(prepared), lambda: read_manifest(augmented)):
        with pytest.raises(DataError, match="is not a manifest of such data"):
            read()


def test_missing_copies_are_not_taken_for_the_online_form(folders: tuple[Path, Path]) -> None:
    prepared, augmented = folders
    reseal(augmented, without("files/copies.npy"))
    with pytest.raises(DataError, match="is of copies: 2"):
        Prepared.read(prepared, augmented)


def test_an_augmentation_of_other_data_is_refused(folders: tuple[Path, Path]) -> None:
    prepared, augmented = folders
    reseal(augmented, put("data", "0" * 16))
    with pytest.raises(DataError, match=f"augments data with fingerprint {'0' * 16}, not those in {prepared}"):
        Prepared.read(prepared, augmented)


def test_a_folder_in_place_of_a_manifest_is_refused(folders: tuple[Path, Path]) -> None:
    prepared, _ = folders
    (prepared / MANIFEST).unlink()
    (prepared / MANIFEST).mkdir()
    with pytest.raises(DataError, match=f"{MANIFEST} cannot be read"):
        Prepared.read(prepared)


# --- arrays with a false header ---


def saved(array: Any, *, pickled: bool = False, version: tuple[int, int] | None = None) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version, allow_pickle=pickled)
    return buffer.getvalue()


def edited(old: str, new: str) -> Callable[[Any], bytes]:
    """Return a function that saves an array with another text in its header."""

    def change(array: Any) -> bytes:
        content = saved(array)
        assert content[:128].count(old.encode()) == 1
        head = content[:128].replace(old.encode(), new.encode()).rstrip(b" \n")
        return head[:127].ljust(127) + b"\n" + content[128:]

    return change


FALSE: dict[str, Callable[[Any], bytes]] = {
    "fewer images": lambda array: saved(array[:-1]),
    "more images than bytes": edited("(1197,", "(1198,"),
    "a huge array": edited("(1197,", "(987654321987654,"),
    "a negative number of images": edited("(1197,", "(-197,"),
    "fewer axes": lambda array: saved(array.reshape(-1)),
    "another type of the same size": lambda array: saved(
        array.view(array.dtype.str.replace("u1", "i1").replace("i8", "u8"))
    ),
    "a larger type": edited("'|u1'", "'<u2'"),
    "objects": edited("'|u1'", "'|O'"),
    "pickled objects": lambda array: saved(array[:2].astype(object), pickled=True),
    "columns first": edited("False", "True"),
    "a newer format": lambda array: saved(array, version=(2, 0)),
    "no header": lambda array: array.tobytes(),
    "a header that ends": lambda array: saved(array)[:60],
    "nothing": lambda _: b"",
    "bytes too many": lambda array: saved(array) + b"\0",
    "code for a header": edited("'|u1'", "exit()"),
}


def falsify(folder: Path, file: str, key: str, change: Callable[[Any], bytes]) -> None:
    """Rewrite an array by `change`, and record its new checksum in the manifest."""
    content = change(np.load(folder / file))
    (folder / file).write_bytes(content)
    reseal(folder, put(key, hashlib.sha256(content).hexdigest()))


@pytest.mark.parametrize("name", FALSE)
def test_a_false_header_is_refused(folders: tuple[Path, Path], name: str) -> None:
    prepared, _ = folders
    falsify(prepared, "train_images.npy", "parts/train/images_sha256", FALSE[name])
    with pytest.raises(DataError, match=r"train_images\.npy (is not an array:|has a header of) .*delete the folder"):
        Prepared.read(prepared)


def _float_labels(labels: Any) -> bytes:
    return saved(labels.astype(np.float64))


def _one_class_more(labels: Any) -> bytes:
    return saved(labels + 1)


def _negative(labels: Any) -> bytes:
    return saved(labels - 1)


@pytest.mark.parametrize("change", [_float_labels, _one_class_more, _negative, FALSE["fewer images"]])
def test_impossible_labels_are_refused(folders: tuple[Path, Path], change: Callable[[Any], bytes]) -> None:
    prepared, _ = folders
    falsify(prepared, "valid_labels.npy", "parts/valid/labels_sha256", change)
    with pytest.raises(DataError, match=r"valid_labels\.npy (has labels from|has a header of) "):
        Prepared.read(prepared)


def _fewer_copies(copies: Any) -> bytes:
    return saved(np.concatenate([copies, copies]))


def _of_other_images(copies: Any) -> bytes:
    return saved(copies[:, :-1])


@pytest.mark.parametrize("change", [_fewer_copies, _of_other_images, FALSE["columns first"], FALSE["objects"]])
def test_copies_of_other_images_are_refused(folders: tuple[Path, Path], change: Callable[[Any], bytes]) -> None:
    prepared, augmented = folders
    falsify(augmented, "copies.npy", "files/copies.npy", change)
    with pytest.raises(DataError, match=r"copies\.npy (holds copies of|has a header of) "):
        Prepared.read(prepared, augmented)


# --- the name of a folder identifies its data ---


@pytest.mark.parametrize("name", ["digits-0123456789abcdef", "mnist-{}"])
def test_data_in_a_folder_named_after_others_are_refused(folders: tuple[Path, Path], name: str) -> None:
    prepared, _ = folders
    fingerprint = prepared.name.removeprefix("digits-")
    other = prepared.rename(prepared.with_name(name.format(fingerprint)))
    for read in (read_manifest, Prepared.read):
        with pytest.raises(DataError, match=f"is of digits with fingerprint {fingerprint}, not of {other.name}"):
            read(other)


def test_augmented_images_in_a_folder_named_after_others_are_refused(folders: tuple[Path, Path]) -> None:
    prepared, augmented = folders
    other = augmented.rename(augmented.with_name("moved-0123456789abcdef"))
    with pytest.raises(DataError, match=f"not of {other.name}"):
        Prepared.read(prepared, other)


def test_a_folder_may_have_any_name_without_a_key(folders: tuple[Path, Path]) -> None:
    prepared, _ = folders
    assert Prepared.read(prepared.rename("mine")).name == "digits"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["other data", "no key", "columns first"])
def test_a_job_does_not_train_on_such_data(folders: tuple[Path, Path], how: str) -> None:
    prepared, _ = folders
    if how == "other data":
        reseal(prepared, put("fingerprint", "0" * 16))
    elif how == "no key":
        reseal(prepared, without("classes"))
    else:
        falsify(prepared, "train_images.npy", "parts/train/images_sha256", FALSE[how])
    done = train_command()
    assert done.returncode == 3, done.stderr
    assert f"delete the folder {prepared}, so that it is prepared or augmented again" in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("results/runs").exists()


def test_a_contact_sheet_with_a_false_header_is_refused(folders: tuple[Path, Path]) -> None:
    _, augmented = folders
    falsify(augmented, "sheet.npy", "files/sheet.npy", edited("(6, 2,", "(-6, -2,"))
    with pytest.raises(DataError, match=r"sheet\.npy has a header of uint8 \(-6, -2, "):
        Augmented.read(augmented)
