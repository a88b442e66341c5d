"""All that was measured in a stored run, in the order of steps, with digests that find the first difference.

The digests are of values, not of bytes: a parquet file also holds the version of the library that wrote it.
"""

import base64
import hashlib
import io
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import orjson

from bnbench.store.run_record import Content

MARK = 2  # digits of base64 per measurement: 1 in 4096 differences has the same mark
WEIGHTS = ".safetensors"
# keys of `run.json` that state which run it is; the others are its results
STATED = {"run_id", "config", "data", "trainer_version", "files", "digest"}


class Measurement(NamedTuple):
    """A measured value; equal values, of equal type, have equal representations."""

    step: int
    quantity: str
    value: object


def measurements(run: Content) -> list[Measurement]:
    """Return the measurements of a run, by step; those that are missing or not finite are left out."""
    found = [*_history(run), *_probes(run), *_results(run)]
    return sorted((one for one in found if one.value is not None), key=lambda one: one.step)


def digest(found: Iterable[Measurement]) -> str:
    """Return 16 hex digits of the SHA-256 of measurements."""
    return hashlib.sha256("\n".join(map(_text, found)).encode()).hexdigest()[:16]


def marks(found: Iterable[Measurement]) -> str:
    """Return a few digits for each measurement: from them `first_difference` finds the first one that differs."""
    return "".join(_mark(one) for one in found)


def first_difference(found: list[Measurement], expected: str) -> Measurement | None:
    """Return the first measurement whose mark is not the expected one.

    Args:
        found: measurements of a run.
        expected: marks of the measurements of another training of that run.

    Returns:
        None if each measurement has its mark, or one that is expected is missing.
    """
    pieces = [expected[i : i + MARK] for i in range(0, len(expected), MARK)]
    pieces += [""] * (len(found) - len(pieces))
    return next((one for one, piece in zip(found, pieces, strict=False) if _mark(one) != piece), None)


def _text(one: Measurement) -> str:
    return repr(tuple(one))


def _mark(one: Measurement) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(_text(one).encode()).digest()[:3]).decode()[:MARK]


def _history(run: Content) -> Iterator[Measurement]:
    columns = orjson.loads(run.file("history.json"))
    for index, step in enumerate(columns.pop("step", ())):
        yield from (Measurement(step, name, values[index]) for name, values in sorted(columns.items()))


def _probes(run: Content) -> Iterator[Measurement]:
    """Yield one measurement for each step, probe and quantity: all of its values, with what they belong to."""
    if "probes.parquet" not in run.files:
        return
    import pyarrow.parquet as pq

    groups: dict[tuple[int, str], list[tuple[object, ...]]] = {}
    for row in pq.read_table(io.BytesIO(run.files["probes.parquet"])).to_pylist():
        key = row.pop("step"), f"{row.pop('quantity')} of probe {row.pop('probe')}"
        groups.setdefault(key, []).append(tuple(row.values()))
    yield from (Measurement(step, quantity, rows) for (step, quantity), rows in groups.items())


def _results(run: Content) -> Iterator[Measurement]:
    end = run.record["steps"]
    yield from (Measurement(end, key, value) for key, value in sorted(run.record.items()) if key not in STATED)
    yield from (Measurement(end, name, of) for name, of in run.record["files"].items() if name.endswith(WEIGHTS))
