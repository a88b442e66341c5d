"""If a declaration differs from the data, the message points to missing files and does not suggest fewer images."""

import gzip
import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bnbench.core.errors import DataError, UserError
from bnbench.data.manifest import read_manifest
from bnbench.data.prepare import prepare
from bnbench.data.prepared import Prepared
from tests.data.formats.test_folders import GOOD, picture, zipped
from tests.data.test_prepare import pets, toy_files
from tests.support.parameters import toy


def test_files_left_out_are_counted_by_reason_before_another_number_is_offered(tmp_path: Path) -> None:
    names = [f"PetImages/Dog/{name}" for name in ("8.heic", "9.heic", "empty.jpg")]
    contents = {**GOOD, names[0]: b"ftypheic", names[1]: b"ftypheic", names[2]: b""}
    dataset = pets(tmp_path, contents).model_copy(update={"images": 11})
    with pytest.raises(UserError) as caught:
        prepare("pets", dataset, tmp_path, tmp_path / "out")
    message = str(caught.value)
    assert "declared is 11, the data have 8; left out: 3 (2 x cannot be decoded: none of " in message
    assert "1 x an empty file" in message
    assert all(f"pets/{name} (" in message for name in names)
    assert message.index("Replace those that should be images") < message.index(
        "only where they are to stay left out, write 8"
    )


def test_with_no_file_left_out_only_the_number_is_offered(tmp_path: Path) -> None:
    dataset = pets(tmp_path, GOOD).model_copy(update={"images": 9})
    with pytest.raises(UserError, match=r"images: declared is 9, the data have 8; write 8$"):
        prepare("pets", dataset, tmp_path, tmp_path / "out")


def test_an_extra_class_is_named(tmp_path: Path) -> None:
    foxes = {f"PetImages/Fox/{i}.jpg": picture(20 + i) for i in range(2)}
    with pytest.raises(UserError, match=r"classes: declared is 2, the data have 3: Catty, Dog, Fox; write 3$"):
        prepare("pets", pets(tmp_path, GOOD | foxes), tmp_path, tmp_path / "out")


def test_a_class_without_readable_files_is_named_and_fewer_classes_are_not_offered(tmp_path: Path) -> None:
    foxes = {f"PetImages/Fox/{i}.heic": b"ftypheic" for i in range(2)}
    dataset = pets(tmp_path, GOOD | foxes).model_copy(update={"classes": 3})
    with pytest.raises(DataError, match="PetImages/Fox has no image that can be read; 2 files in it are left out") as e:
        prepare("pets", dataset, tmp_path, tmp_path / "out")
    assert "write" not in str(e.value)


@pytest.mark.parametrize(
    ("key", "declared", "seen"), [("images", 41, "40"), ("classes", 5, "4"), ("shape", (1, 2, 3), r"\(1, 2, 2\)")]
)
def test_idx_files_that_differ_from_the_declaration_are_reported_with_their_values(
    tmp_path: Path, key: str, declared: object, seen: str
) -> None:
    dataset = toy_files(tmp_path).model_copy(update={key: declared})
    with pytest.raises(UserError, match=rf"datasets\.toy\.{key}: declared is .*, the data have {seen}; write {seen}$"):
        prepare("toy", dataset, tmp_path, tmp_path / "out")


def test_labels_in_place_of_images_are_refused(tmp_path: Path) -> None:
    dataset = toy_files(tmp_path)
    swapped = gzip.compress(struct.pack(">2I", 2049, 40) + bytes(40), mtime=0)
    (tmp_path / "train-images.gz").write_bytes(swapped)
    files = {**dataset.files, "train-images.gz": "sha256:" + hashlib.sha256(swapped).hexdigest()}
    with pytest.raises(DataError, match=r"train-images\.gz: starts with 0x00000801"):
        prepare("toy", dataset.model_copy(update={"files": files}), tmp_path, tmp_path / "out")


def xrays(folder: Path) -> Path:
    """Write a parameter file and a zip of 16-bit grey PNGs in two classes, with a macOS file and a text file."""
    contents = {"__MACOSX/XR/ill/._0.png": b"\0\5\26\7", "XR/notes.txt": b"dark"}
    random = np.random.RandomState(0)
    for name, low in (("healthy", 15_000), ("ill", 45_000)):
        for i in range(8):
            path = folder / "one.png"
            Image.fromarray(random.randint(low, low + 5000, (8, 8)).astype(np.uint16)).save(path)
            contents[f"XR/{name}/{i}.png"] = path.read_bytes()
    (folder / "raw").mkdir()
    zipped(folder / "raw", contents)
    digest = hashlib.sha256((folder / "raw/c.zip").read_bytes()).hexdigest()
    return toy(
        folder,
        ("    format: digits\n", f"    format: folders\n    files: {{c.zip: 'sha256:{digest}'}}\n"),
        ("    classes: 10\n", "    classes: 2\n"),
        ("    images: 1797\n", "    images: 16\n"),
        ("split: {valid: 240, test: 360, seed: 0}", "split: {valid: 4, test: 4, seed: 0}"),
    )


def test_the_command_prints_what_was_left_out_and_converted(tmp_path: Path) -> None:
    xrays(tmp_path)
    command = [str(Path(sys.executable).with_name("bnbench")), "prepare", "digits", "--raw", "raw", "--out", "out"]
    environment = {key: value for key, value in os.environ.items() if key != "BNBENCH_MIRROR"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        "1 left out, 1 ignored as litter of an operating system, 16 reduced from 16 bits to the upper 8" in done.stdout
    )
    manifest, prepared = read_manifest(tmp_path / "out"), Prepared.read(tmp_path / "out")
    assert list(manifest["left_out"]) == ["XR/notes.txt"]
    assert len(manifest["reduced"]) == 16
    healthy, ill = (prepared.train.images[prepared.train.labels == label] for label in (0, 1))
    assert healthy.max() < 80 < 170 < ill.min()
    assert len(np.unique(prepared.train.images)) > 20


def test_litter_in_the_folder_of_prepared_data_is_ignored(tmp_path: Path) -> None:
    dataset = toy_files(tmp_path)
    prepare("toy", dataset, tmp_path, tmp_path / "out")
    (tmp_path / "out/Thumbs.db").write_bytes(b"x")
    assert len(Prepared.read(tmp_path / "out").test.labels) == 8
