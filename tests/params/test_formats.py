"""The files and shape that each raw data format allows, and the refusal of a parameter file that declares others."""

import re
from pathlib import Path

import pytest

from bnbench.params.formats import CIFAR_META, CIFAR_TEST, CIFAR_TRAIN, FORMATS, problems
from tests.support.parameters import line_of, refusal, toy

IDX = ("train-images.gz", "train-labels.gz", "t10k-images.gz", "t10k-labels.gz")
CIFAR = tuple(f"cifar/{name}" for name in (*CIFAR_TRAIN, CIFAR_TEST, CIFAR_META))
ALLOWED: list[tuple[str, tuple[str, ...]]] = [
    ("digits", ()),
    ("idx", IDX),
    ("idx", IDX[:2]),
    ("idx", IDX[::-1]),
    ("cifar", CIFAR),
    ("folders", ("pets.zip",)),
    ("folders", ("pets/SHA256SUMS",)),
    ("folders", ("a.jpg", "SHA256SUMS")),
]
REFUSED: list[tuple[str, tuple[str, ...], str]] = [
    ("digits", ("a.gz",), r"reads no files \(remove `files`\); `files` has: a\.gz"),
    *(
        ("idx", tuple(IDX[i] for i in kept), "format idx reads four files")
        for kept in ((), (0,), (0, 2), (2, 3), (0, 1, 2), (1, 2, 3))
    ),
    ("idx", (*IDX, "notes.txt"), r"`files` has: .*notes\.txt"),
    ("idx", (IDX[0], IDX[1], "train-images"), "format idx reads four files"),
    ("cifar", CIFAR[1:], "format cifar reads"),
    ("cifar", (*CIFAR, "more/test_batch"), "format cifar reads"),
    ("folders", (), "`files` has: nothing"),
    ("folders", tuple(f"{i}.jpg" for i in range(20)), r"one zip or tar, or a SHA256SUMS and what it lists; .*8\.jpg, "),
]


@pytest.mark.parametrize(("name", "files"), ALLOWED)
def test_the_files_that_a_format_reads_are_accepted(name: str, files: tuple[str, ...]) -> None:
    assert list(problems(name, files, (3, 8, 8))) == []


@pytest.mark.parametrize(("name", "files", "message"), REFUSED)
def test_other_files_are_refused_with_the_rule(name: str, files: tuple[str, ...], message: str) -> None:
    ((key, problem),) = problems(name, files, (3, 8, 8))
    assert key == "files"
    assert re.search(message, problem)


def test_only_formats_that_convert_channels_restrict_them() -> None:
    files = {"digits": (), "idx": IDX, "cifar": CIFAR, "folders": ("pets.zip",)}
    refused = {name: [key for key, _ in problems(name, files[name], (2, 5, 5))] for name in FORMATS}
    assert refused == {"digits": [], "idx": [], "cifar": [], "folders": ["shape"]}


def test_a_wrong_declaration_is_refused_with_its_line_when_the_parameter_file_is_read(tmp_path: Path) -> None:
    path = toy(tmp_path, ("format: digits", "format: idx"))
    assert refusal(path).startswith(
        f"params.yaml:{line_of(path, '  digits:')}: datasets.digits.files: format idx reads"
    )
    path = toy(tmp_path, ("format: digits", f"format: digits\n    files: {{a.gz: md5:{'0' * 32}}}"))
    assert refusal(path).startswith(
        f"params.yaml:{line_of(path, 'files:')}: datasets.digits.files: format digits reads"
    )
    files = f"format: folders\n    files: {{pets.zip: md5:{'0' * 32}}}"
    path = toy(tmp_path, ("format: digits", files), ("shape: [1, 8, 8]", "shape: [2, 8, 8]"))
    expected = "datasets.digits.shape: format folders gives images of 1 or 3 channels, but the shape is [2, 8, 8]"
    assert refusal(path) == f"params.yaml:{line_of(path, 'shape:')}: {expected}"
