"""The program's own files: JSON, digests, and records that contain the digest of their own file."""

import hashlib
import json
import re
import stat
from pathlib import Path
from typing import Any

import orjson

from bnbench.core.atomic import write_bytes
from bnbench.core.errors import UserError

RESTORE = "bnbench writes this file: restore it, or start snakemake, which rebuilds what it can"
LARGEST = 2**30  # bytes of a file that is read at once; a plan of 10,000 runs has 2**24
INDENTED = orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
SEAL = re.compile(rb'^  "digest": "([0-9a-f]{64})"', re.MULTILINE)  # of the outermost object: no text has a line break


class Missing(UserError, FileNotFoundError):
    """A file of the program is missing."""


class Unreadable(UserError, ValueError):
    """A file of the program is not as the program wrote it; the message gives the reason and the remedy."""

    def __init__(self, path: Path, reason: str, remedy: str) -> None:
        super().__init__(path, reason, remedy)
        self.reason = reason

    def __str__(self) -> str:
        return "{}: {}; {}".format(*self.args)


def canonical(value: object) -> bytes:
    """Serialise a JSON value with sorted keys: equal values give equal bytes.

    This uses the standard library, as orjson's versions write numbers from 1e16 on differently.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def write_json(path: Path, value: object) -> None:
    """Write a value atomically as indented JSON with sorted keys; NaN and infinity become null."""
    write_bytes(path, orjson.dumps(value, option=INDENTED))


def read_bytes(path: Path, remedy: str = RESTORE, largest: int = LARGEST) -> bytes:
    """Read a file that the program wrote.

    Args:
        path: the file.
        remedy: what the user can do if it cannot be read; it ends the message.
        largest: the size in bytes above which it is refused.

    Raises:
        Missing: there is no such file.
        Unreadable: it is a folder, a pipe or a device, it is too large, or the operating system refuses access.
    """
    try:
        about = path.stat()  # before it is opened: opening a pipe would block until something writes to it
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
    """Read a JSON file that the program wrote.

    Raises:
        Missing: there is no such file.
        Unreadable: it cannot be read, or is not JSON.
    """
    return parse_json(path, read_bytes(path, remedy), remedy)


def parse_json(path: Path, content: bytes, remedy: str = RESTORE) -> Any:
    """Parse the content of a JSON file that the program wrote.

    Raises:
        Unreadable: it is no JSON.
    """
    try:
        value = orjson.loads(content)
        orjson.dumps(value)  # refuses nesting so deep that other code would fail at it
    except (ValueError, TypeError) as error:
        raise Unreadable(path, f"no JSON: {error}", remedy) from None
    return value


def write_sealed(path: Path, record: dict[str, Any]) -> None:
    """Write a record as JSON with a key `digest`: the SHA-256 of the file in which these 64 digits are zeros."""
    content = orjson.dumps({**record, "digest": "0" * 64}, option=INDENTED)
    write_bytes(path, _with_digest(content, hashlib.sha256(content).hexdigest().encode()))


def is_sealed(content: bytes) -> bool:
    """Return whether a file's content is as `write_sealed` wrote it, to the last byte."""
    found = SEAL.search(content)
    zeros = _with_digest(content, b"0" * 64)
    return found is not None and found[1].decode() == hashlib.sha256(zeros).hexdigest()


def read_sealed(path: Path, remedy: str = RESTORE, must: bool = True) -> dict[str, Any]:
    """Read a record that `write_sealed` wrote.

    Args:
        path: its file.
        remedy: what the user can do if it cannot be read.
        must: whether a record without a digest, as earlier versions of the program wrote it, is refused too.

    Raises:
        Missing: there is no such file.
        Unreadable: it cannot be read, is not JSON, or was altered.
    """
    content = read_bytes(path, remedy)
    record = parse_json(path, content, remedy)
    if not isinstance(record, dict):
        raise Unreadable(path, "no JSON object", remedy)
    if not is_sealed(content) and (must or SEAL.search(content)):
        raise Unreadable(path, "it was altered: its content does not have the digest that it names", remedy)
    return record


def _with_digest(content: bytes, value: bytes) -> bytes:
    return SEAL.sub(lambda found: found[0].replace(found[1], value), content, count=1)


def digest(*parts: object, length: int = 16) -> str:
    """Return the first `length` hex digits of the SHA-256 of JSON values in canonical form."""
    return hashlib.sha256(canonical(parts)).hexdigest()[:length]


def source_digest(*folders: str) -> str:
    """Return the digest of all source files in these folders of the package, as `"tables"`.

    The outputs of a stage carry the digest of the folders with its code, so an edited stage is run again.
    """
    package = Path(__file__).parents[1]
    found = (path for folder in folders for path in (package / folder).rglob("*") if path.is_file())
    source = sorted(path for path in found if path.suffix != ".pyc")
    return digest([(path.relative_to(package).as_posix(), checksum(path, "sha256")) for path in source])


def checksum(path: Path, algorithm: str) -> str:
    """Return the hex digest of a file, read in blocks of 1 MiB."""
    state = hashlib.new(algorithm)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()
