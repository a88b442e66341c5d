"""Read and write the program's own files: JSON, digests, records sealed by a digest of their own."""

import hashlib
import json
import re
import stat
from pathlib import Path
from typing import Any

import orjson

from bnbench.core.atomic import write_bytes
from bnbench.core.errors import UserError

RESTORE = "bnbench writes this file: restore it, or start snakemake, which makes anew what it can"
LARGEST = 2**30  # bytes of a file that is read at once; a plan of 10,000 runs has 2**24
INDENTED = orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
SEAL = re.compile(rb'^  "digest": "([0-9a-f]{64})"', re.MULTILINE)  # of the outermost object: no text has a line's end


class Missing(UserError, FileNotFoundError):
    """There is no such file."""


class Unreadable(UserError, ValueError):
    """A file that the program itself wrote is not what it wrote: which, why, and what to do."""

    def __init__(self, path: Path, reason: str, remedy: str) -> None:
        super().__init__(path, reason, remedy)
        self.reason = reason

    def __str__(self) -> str:
        return "{}: {}; {}".format(*self.args)


def canonical(value: object) -> bytes:
    """`value` as JSON with sorted keys: equal values give equal bytes.

    By the standard library: orjson's versions differ in how they write numbers from 1e16 on.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def write_json(path: Path, value: object) -> None:
    """Write `value` atomically as indented JSON with sorted keys; NaN and infinity become null."""
    write_bytes(path, orjson.dumps(value, option=INDENTED))


def read_whole(path: Path, remedy: str = RESTORE, largest: int = LARGEST) -> bytes:
    """All of a file that the program itself wrote.

    Raises:
        Missing: there is no such file.
        Unreadable: it is a folder, a pipe or a device, of a size that no such file has, or the system refuses it.
    """
    try:
        about = path.stat()  # before it is opened: to open a pipe would wait for its writer
        if not stat.S_ISREG(about.st_mode):
            kind = "a folder" if stat.S_ISDIR(about.st_mode) else "no regular file"
            raise Unreadable(path, f"{kind} lies where a file is needed", "move it away, and start again")
        if about.st_size > largest:
            raise Unreadable(path, f"it has {about.st_size} bytes, more than it was written with", remedy)
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise Missing(f"{path}: no such file; {remedy}") from None
    except OSError as error:
        raise Unreadable(path, error.strerror or str(error), remedy) from None


def read_json(path: Path, remedy: str = RESTORE) -> Any:
    """The value of a JSON file that the program itself wrote.

    Raises:
        Missing: there is no such file.
        Unreadable: it cannot be read, or is no JSON.
    """
    return parse_json(path, read_whole(path, remedy), remedy)


def parse_json(path: Path, content: bytes, remedy: str = RESTORE) -> Any:
    """The value of a JSON file whose content was read already.

    Raises:
        Unreadable: it is no JSON.
    """
    try:
        value = orjson.loads(content)
        orjson.dumps(value)  # refuses what nests so deep that other code would fail at it
    except (ValueError, TypeError) as error:
        raise Unreadable(path, f"no JSON: {error}", remedy) from None
    return value


def write_sealed(path: Path, record: dict[str, Any]) -> None:
    """Write `record` as JSON with the SHA-256 of the file itself, its 64 digits taken as zeros."""
    content = orjson.dumps({**record, "digest": "0" * 64}, option=INDENTED)
    write_bytes(path, _with_digest(content, hashlib.sha256(content).hexdigest().encode()))


def is_sealed(content: bytes) -> bool:
    """Whether a file's content is as `write_sealed` wrote it, to the last byte."""
    found = SEAL.search(content)
    zeros = _with_digest(content, b"0" * 64)
    return found is not None and found[1].decode() == hashlib.sha256(zeros).hexdigest()


def read_sealed(path: Path, remedy: str = RESTORE, must: bool = True) -> dict[str, Any]:
    """A record that `write_sealed` wrote.

    Args:
        path: its file.
        remedy: what to do if it cannot be used.
        must: refuse a record without a digest too, as earlier versions of the program wrote them.

    Raises:
        Missing: there is no such file.
        Unreadable: it cannot be read, is no JSON, or was altered.
    """
    content = read_whole(path, remedy)
    record = parse_json(path, content, remedy)
    if not isinstance(record, dict):
        raise Unreadable(path, "no JSON object", remedy)
    if not is_sealed(content) and (must or SEAL.search(content)):
        raise Unreadable(path, "it was altered: its content does not have the digest that it names", remedy)
    return record


def _with_digest(content: bytes, value: bytes) -> bytes:
    return SEAL.sub(lambda found: found[0].replace(found[1], value), content, count=1)


def digest(*parts: object, length: int = 16) -> str:
    """Hash of any JSON values: `length` hex digits of the SHA-256 of their canonical form."""
    return hashlib.sha256(canonical(parts)).hexdigest()[:length]


def source_digest(*folders: str) -> str:
    """Hash all source files in these folders of the package, as `"tables"`.

    What a stage makes carries the hash of the folders that its code lies in, so an edited stage is run again.
    """
    package = Path(__file__).parents[1]
    found = (path for folder in folders for path in (package / folder).rglob("*") if path.is_file())
    source = sorted(path for path in found if path.suffix != ".pyc")
    return digest([(path.relative_to(package).as_posix(), checksum(path, "sha256")) for path in source])


def checksum(path: Path, algorithm: str) -> str:
    """Hex digest of a file's content, read in blocks of 1 MiB."""
    state = hashlib.new(algorithm)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()
