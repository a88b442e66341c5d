"""The YAML reader returns the right value or one error with its line, for any file."""

import math
import os
import random
from pathlib import Path
from typing import Any

import pytest

from bnbench.core.errors import UserError
from bnbench.core.yaml_reader import Document, dotted, read


def document(folder: Path, content: str | bytes) -> Document:
    path = folder / "p.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(path)


def refusal(folder: Path, content: str | bytes) -> str:
    with pytest.raises(UserError) as caught:
        document(folder, content)
    return str(caught.value).removeprefix(f"{folder}{os.sep}")


NUMBERS: dict[str, float] = {
    "1e-3": 0.001,
    "5e-6": 0.000005,
    "1E5": 100_000.0,
    "1.e3": 1000.0,
    ".5": 0.5,
    "-.5": -0.5,
    "5.": 5.0,
    "3.10": 3.1,
    "1.0": 1.0,
    "+1": 1,
    "-7": -7,
    "0": 0,
    "010": 10,  # YAML 1.1 reads 8
    "08": 8,
    "0o17": 15,
    "0x1F": 31,
    ".inf": math.inf,
    "-.INF": -math.inf,
}
WORDS = ["no", "yes", "on", "off", "y", "n", "12:30:45", "1:30", "1_000", "0b101", "1.0.0", "1e", "0o18", "-0x1", "<<"]
DATES = ["2001-01-01", "2001-12-14t21:59:43.10-05:00"]
OTHERS: dict[str, Any] = {"true": True, "True": True, "FALSE": False, "null": None, "~": None, "Null": None, "": None}


@pytest.mark.parametrize(("text", "value"), NUMBERS.items())
def test_a_number_of_yaml_1_2_is_that_number_of_that_type(tmp_path: Path, text: str, value: float) -> None:
    seen = document(tmp_path, f"a: {text}\nb: [{text}]\n").values
    assert seen == {"a": value, "b": [value]}
    assert type(seen["a"]) is type(value)


def test_nan_is_not_a_number(tmp_path: Path) -> None:
    assert math.isnan(document(tmp_path, "a: .nan\n").values["a"])


@pytest.mark.parametrize("text", [*WORDS, *DATES])
def test_scalars_that_only_yaml_1_1_converts_stay_text(tmp_path: Path, text: str) -> None:
    assert document(tmp_path, f"a: {text}\n").values == {"a": text}


@pytest.mark.parametrize("text", [*NUMBERS, *WORDS, *DATES, *OTHERS])
def test_a_quoted_scalar_is_text(tmp_path: Path, text: str) -> None:
    assert document(tmp_path, f"a: \"{text}\"\nb: '{text}'\n").values == {"a": text, "b": text}


@pytest.mark.parametrize(("text", "value"), OTHERS.items())
def test_booleans_and_null(tmp_path: Path, text: str, value: object) -> None:
    assert document(tmp_path, f"a: {text}\n").values["a"] is value


def test_each_value_has_its_line(tmp_path: Path) -> None:
    seen = document(tmp_path, "a:\n  b: 1\n  c: [1,\n      2]\n\nd:\n  - x\n  - e: y\n")
    expected = {"a": 1, "a.b": 2, "a.c": 3, "a.c[0]": 3, "a.c[1]": 4, "d": 6, "d[0]": 7, "d[1]": 8, "d[1].e": 8}
    assert {dotted(key): line for key, line in seen.lines.items()} == expected
    assert seen.where(("d", 1, "e")) == f"{seen.path}:8: d[1].e"
    assert seen.where(("a", "lost", "key")) == f"{seen.path}:1: a.lost.key"
    assert seen.where(("lost",)) == f"{seen.path}: lost"


def test_an_alias_is_the_value_of_its_anchor(tmp_path: Path) -> None:
    assert document(tmp_path, "a: &x [1, {b: 2}]\nc: *x\n").values == {"a": [1, {"b": 2}], "c": [1, {"b": 2}]}


def test_a_byte_order_mark_is_not_part_of_the_first_key(tmp_path: Path) -> None:
    assert document(tmp_path, b"\xef\xbb\xbfa: 1\n").values == {"a": 1}


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "a key twice": ("a: 1\nb: 2\na: 3\n", "p.yaml:3: a: stands twice, first in line 1"),
    "a nested key twice": ("x:\n  a: 1\n  a: 1\n", "p.yaml:3: x.a: stands twice, first in line 2"),
    "a key twice in one line": ("x: {a: 1, a: 2}\n", "p.yaml:1: x.a: stands twice"),
    "code": ("a: !!python/object/apply:os.system ['false']\n", "p.yaml:1: a: the tag"),
    "a name of code": ("b: 1\na: !!python/name:os.system\n", "p.yaml:2: a: the tag"),
    "a tag of one's own": ("a: !own {b: 1}\n", "p.yaml:1: a: the tag '!own'"),
    "a tag of YAML": ("a: !!str 1\n", "p.yaml:1: a: the tag"),
    "bytes": ("a: !!binary aGVsbG8=\n", "p.yaml:1: a: the tag"),
    "an old YAML": ("%YAML 1.1\n---\na: no\n", "p.yaml:2: a %YAML or %TAG directive"),
    "a tab for indentation": ("a:\n\tb: 1\n", "p.yaml:2: not YAML: found character '\\t'"),
    "an open bracket": ("a: [1, 2\nb: 3\n", "p.yaml:2: not YAML"),
    "two values": ("a: 1\n b: 2\n", "p.yaml:2: not YAML"),
    "an alias of nothing": ("a: *x\n", "p.yaml:1: a: no value is marked &x"),
    "an alias of itself": ("a: &x [*x]\n", "p.yaml:1: a[0]: no value is marked &x"),
    "a number for a key": ("a: 1\n2: 3\n", "p.yaml:2: a key that is not text: '2'"),
    "a list for a key": ("[1, 2]: 3\n", "p.yaml:1: a key that is not text"),
    "too many digits": (f"a: {'9' * 5000}\n", "p.yaml:1: a: a number of 5000 digits"),
    "nothing": ("", "p.yaml:1: a parameter file is a mapping of keys, as `tier: quick`; this one is empty"),
    "a comment alone": ("# a\n", "this one is empty"),
    "a list at the top": (
        "- a\n- b\n",
        "p.yaml:1: a parameter file is a mapping of keys, as `tier: quick`; this one is a l",
    ),
    "a word": ("hello\n", "this one is a single value"),
    "two documents": ("a: 1\n---\nb: 2\n", "p.yaml:2: another document"),
    "UTF-16": ("a: 1\n".encode("utf-16"), "p.yaml:1: byte 0 is not UTF-8"),
    "UTF-16 without a mark": ("a: 1\n".encode("utf-16-le"), "p.yaml:1: the character U+0000"),
    "Latin-1": ("a: 1\nb: \u00e9\n".encode("latin-1"), "p.yaml:2: byte 8 is not UTF-8"),
    "a control character": ("a: 1\nb: \x1b[31m\n", "p.yaml:2: the character U+001B"),
    "an escaped control character": ('a: "\\e[31m"\n', "p.yaml:1: a: text with the control character U+001B"),
    "half a character": ('a: "\\ud800"\n', "p.yaml:1: a: text with the control character U+D800"),
    "too large": (b"x" * 1_000_001, "p.yaml: more than 1000000 bytes, which no parameter file needs"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_an_invalid_file_gives_one_line_with_file_and_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    seen = refusal(tmp_path, content)
    assert message in seen
    assert "\n" not in seen


def bomb(first: str, one: str, item: str) -> str:
    marked = (f"a{i}: &a{i} {one % ', '.join(item % (j, i - 1) for j in range(9))}" for i in range(1, 30))
    return "\n".join([first, *marked])


BOMBS = {
    "lists": bomb("a0: &a0 [x, x]", "[%s]", "k%d: *a%d"),
    "mappings": bomb("a0: &a0 {x: 1}", "{%s}", "k%d: *a%d"),
    "brackets": "a: " + "[" * 100_000,
    "braces": "a: " + "{a: " * 20_000,
    "dashes": "a:\n" + "- " * 50_000,
    "closed brackets": "a: " + "[" * 3000 + "]" * 3000,
    "indentation": "".join(f"{' ' * i}a:\n" for i in range(400)),
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
def test_a_file_that_expands_without_bound_is_refused(tmp_path: Path, content: str) -> None:
    assert refusal(tmp_path, content).startswith("p.yaml:")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("alphabet", ["".join(map(chr, range(32, 127))), "a:-[]{}, \n#&*!|>'\"%@`?", "ab: \n-"])
def test_garbage_is_refused(tmp_path: Path, alphabet: str, seed: int) -> None:
    draw = random.Random(seed)
    assert refusal(tmp_path, "".join(draw.choices(alphabet, k=100_000))).startswith("p.yaml:")


def test_garbage_bytes_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, random.Random(0).randbytes(100_000)).startswith("p.yaml:1: byte 0 is not UTF-8")


def test_a_missing_file_or_a_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: no such file; run from the project's folder"):
        read(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read(tmp_path)
