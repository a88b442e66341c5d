"""Batches of CIFAR-10: read exactly as `pickle` reads them; crafted pickles are refused without running anything."""

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnbench.core.errors import DataError
from bnbench.data.formats import cifar
from bnbench.data.formats.cifar import Refused, read_batch, unpickled
from bnbench.data.prepared import Images
from tests.support import pickles


def test_the_files_give_the_images_labels_and_names_that_were_written(tmp_path: Path) -> None:
    made = cifar.read(pickles.write(tmp_path))
    assert np.array_equal(made.images, np.concatenate([pickles.images_of(6, seed) for seed in range(5)]))
    assert made.labels.tolist() == [0, 1, 2, 0, 1, 2] * 5
    assert made.test_images is not None
    assert np.array_equal(made.test_images, pickles.images_of(6, 5))
    assert made.about == {"class_names": list(pickles.NAMES)}


def test_pickle_itself_reads_the_same() -> None:
    content = pickles.batch(pickles.images_of(300, 1), [1] * 300)
    known: dict[str, Any] = pickle.loads(content, encoding="latin-1")
    seen = unpickled(content)
    assert seen.keys() == known.keys()
    assert np.array_equal(seen.pop("data"), known.pop("data"))
    assert seen == known


class Payload:
    """An object whose pickle runs a command when loaded."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.canary}'",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("wrap", [lambda payload: payload, lambda payload: {"data": payload, "labels": [payload]}])
def test_a_payload_that_pickle_runs_is_refused_and_nothing_runs(tmp_path: Path, protocol: int, wrap: Any) -> None:
    content = pickle.dumps(wrap(Payload(tmp_path / "canary")), protocol)
    pickle.loads(content)
    assert (tmp_path / "canary").exists()  # the payload works
    (tmp_path / "canary").unlink()
    (tmp_path / "data_batch_1").write_bytes(content)
    with pytest.raises(DataError, match="data_batch_1: not a published batch of CIFAR-10"):
        read_batch(tmp_path / "data_batch_1", 10)
    assert not (tmp_path / "canary").exists()


SYSTEM = b"U\x09echo oops\x85R."
CRAFTED = {
    "os.system by GLOBAL": b"cos\nsystem\n" + SYSTEM,
    "a nested global": b"cnumpy\ncore.multiarray.os.system\n" + SYSTEM,
    "a global below numpy": b"cnumpy.testing._private.utils\nrunstring\nU\x01aU\x01b\x86R.",
    "numpy's array of objects": pickles.mapping({"data": pickles.array(pickles.images_of(1, 0), "O8")}),
    "INST": b"(U\x09echo oopsios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nU\x09echo oopso.",
    "NEWOBJ": b"\x80\x02cos\nsystem\nU\x01a\x85\x81.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93" + SYSTEM,
    "EXT1": b"\x80\x02\x82\x01" + SYSTEM,
    "PERSID": b"Pname\n.",
    "the array called as one": b"cnumpy.core.multiarray\n_reconstruct\nU\x01a\x85R.",
    "a state for a list": b"]}b.",
    "a gigabyte announced": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 30) + b"x.",
    "a string longer than the file": b"T" + struct.pack("<i", 1 << 30) + b"x.",
    "a memo index of two billion": b"\x80\x02]r\xff\xff\xff\x7f0.",
    "a call with arguments whose text grows exponentially": b"\x80\x02cnumpy\ndtype\n]q\x00"
    + b"".join(b"0](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(60))
    + b"\x85R.",
    "attributes set on a stand-in": b"\x80\x02cnumpy\ndtype\n}U\x06pixelsK\x01sb.",
    "deep nesting": b"(" * 100_000 + b"t" * 100_000 + b".",
    "an empty stack": b"R.",
    "two values": b"K\x01K\x02.",
    "a memo index that was never set": b"h\x05.",
    "no mark": b"e.",
    "no end": b"K\x01",
    "empty": b"",
    "text": b"<html>log in</html>",
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_pickle_is_refused_with_one_message(tmp_path: Path, name: str) -> None:
    path = tmp_path / "test_batch"
    path.write_bytes(CRAFTED[name])
    with pytest.raises(DataError, match="test_batch: not a published batch"):
        read_batch(path, 10)


@pytest.mark.parametrize("end", [0, 1, 100, -20, -1])
def test_a_truncated_batch_is_refused(tmp_path: Path, end: int) -> None:
    path = tmp_path / "data_batch_2"
    path.write_bytes(pickles.batch(pickles.images_of(3, 0), [0, 1, 2])[:end])
    with pytest.raises(DataError, match="data_batch_2"):
        read_batch(path, 3)


IMAGES: Images = pickles.images_of(3, 0)
LABELS = pickles.listed([pickles.number(i) for i in range(3)])
UNLIKE = {
    "a key missing": ({"labels": LABELS, "data": pickles.array(IMAGES)}, "its keys are"),
    "another key": ({"labels": LABELS, "data": pickles.array(IMAGES), "x": b"N", "filenames": b"]"}, "its keys are"),
    "labels of text": ({"labels": pickles.listed([pickles.text("a")] * 3)}, "a label is not a number from 0 to 2"),
    "a class too many": ({"labels": pickles.listed([pickles.number(3)] * 3)}, "a label is not a number from 0 to 2"),
    "a label missing": ({"labels": pickles.listed([pickles.number(0)] * 2)}, "3072 bytes for each label"),
    "small images": ({"data": pickles.array(IMAGES[:, :, :8])}, "3072 bytes for each label"),
    "data of numbers": ({"data": LABELS}, "its keys are"),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_a_batch_of_another_structure_is_refused(tmp_path: Path, name: str) -> None:
    items, message = UNLIKE[name]
    intact = {"batch_label": pickles.text("b"), "labels": LABELS, "data": pickles.array(IMAGES), "filenames": b"]"}
    path = tmp_path / "batch"
    path.write_bytes(pickles.mapping(items if "key" in name else intact | items))
    with pytest.raises(DataError, match=message):
        read_batch(path, 3)


def test_a_batch_beyond_all_sizes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "batch").open("wb") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(DataError, match=f"it has {1 << 40} bytes"):
        read_batch(tmp_path / "batch", 10)


def test_an_operation_that_is_not_allowed_is_named_with_its_position() -> None:
    with pytest.raises(Refused, match="the operation STACK_GLOBAL at byte 14"):
        unpickled(b"\x80\x04U\x02osU\x06system\x93.")
