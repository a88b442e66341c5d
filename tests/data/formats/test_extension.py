"""The documented addition of a raw data format, applied to a copy of the project, prepares data in that format."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from ruamel.yaml import YAML

from tests.support.extensions import patch
from tests.support.miniature import Project, miniature

PIXELS = np.random.RandomState(0).randint(0, 256, (60, 3, 4, 5)).astype(np.uint8)
LABELS = np.arange(60) % 3


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a copy of the project with the addition, and a declared data set in the new format."""
    project = miniature(tmp_path_factory.mktemp("extended") / "project")
    project.run("git apply", str(patch("Add a data format", project.folder.parent)))
    np.savez_compressed(project.folder / "toy.npz", images=PIXELS, labels=LABELS)
    checksum = hashlib.sha256((project.folder / "toy.npz").read_bytes()).hexdigest()
    declared = (
        "datasets:\n  toy:\n    title: Toy\n    format: npz\n    licence: none\n    shape: [3, 4, 5]\n    classes: 3\n"
        f"    images: 60\n    mirrors: [.]\n    files: {{toy.npz: sha256:{checksum}}}\n"
        "    split: {valid: 12, test: 9, seed: 0}\n"
    )
    project.edit("datasets:\n", declared)
    return project


def test_a_data_set_in_the_new_format_is_downloaded_and_prepared_by_the_commands(extended: Project) -> None:
    extended.run("bnbench download toy --out raw")
    message = extended.run("bnbench prepare toy --raw raw --out out")
    assert "toy: 9 test, 39 train, 12 valid images of 3x4x5 in out" in message
    out = extended.folder / "out"
    pairs = [
        (image.tobytes(), int(label))
        for part in ("train", "valid", "test")
        for image, label in zip(np.load(out / f"{part}_images.npy"), np.load(out / f"{part}_labels.npy"), strict=True)
    ]
    assert sorted(pairs) == sorted((image.tobytes(), int(label)) for image, label in zip(PIXELS, LABELS, strict=True))
    assert json.loads((out / "manifest.json").read_text())["format"] == "npz"


def test_the_schema_and_the_rules_for_files_come_from_the_entry(extended: Project) -> None:
    extended.run("bnbench schema --out schema.json")
    field = json.loads((extended.folder / "schema.json").read_text())["$defs"]["Dataset"]["properties"]["format"]
    assert field["enum"][-1] == "npz"
    assert field["description"].endswith("; npz: one NumPy .npz file with the arrays images and labels")
    values = YAML(typ="safe", pure=True).load((extended.folder / "params.yaml").read_text())
    values["datasets"]["toy"]["files"] = {"toy.zip": values["datasets"]["toy"]["files"]["toy.npz"]}
    with (extended.folder / "other.yaml").open("w") as file:
        YAML(typ="safe", pure=True).dump(values, file)
    message = extended.run("bnbench prepare toy --params other.yaml --raw raw --out other", code=2)
    assert "datasets.toy.files: format npz reads one .npz file; `files` has: toy.zip" in message


def test_the_tests_of_the_addition_pass(extended: Project) -> None:
    tests = extended.folder / "tests" / "data" / "formats"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)],
        cwd=extended.folder,
        env=extended.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout
