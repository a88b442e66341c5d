"""Reading and writing files so that nothing is ever half-written: temporary name, flush, rename."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from bnbench.core import locks
from bnbench.core.errors import SystemFault, UserError

REMEDY = {
    errno.ENOSPC: "no space is left on the disk; free some and run the same command again",
    errno.EDQUOT: "your disk quota is used up; free some space and run the same command again",
    errno.EACCES: "this folder may not be written; change its permissions or its owner",
    errno.EPERM: "this folder may not be written; change its permissions or its owner",
    errno.ENOTDIR: "a file lies where a folder is needed; move it away",
    errno.EEXIST: "a file lies where a folder is needed; move it away",
    errno.EISDIR: "a folder lies where a file is needed; move it away",
    errno.EFBIG: "files may not grow so large here; raise the limit (ulimit -f) and run the same command again",
    errno.ENAMETOOLONG: "the name is longer than file systems allow; use a shorter one",
    errno.EROFS: "this file system is read-only; work in a folder that can be written",
}
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


TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{6,8}")

TEMPORARY_BYTES = 1 << 20  # more than Snakemake needs
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals at `path` into a message with a remedy.

    Raises:
        SystemFault: no space, no permission, a read-only file system.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in REMEDY:
            raise
        place = error.filename2 or error.filename or path  # of a copy or a renaming the second is written
        raise SystemFault(f"cannot write {place}: {REMEDY[error.errno]}") from error


def check_file(path: Path) -> None:
    """Check that no folder is at `path`.

    Raises:
        SystemFault: one is.
    """
    if path.is_dir():
        raise SystemFault(f"cannot write {path}: {REMEDY[errno.EISDIR]}")


@contextlib.contextmanager
def full_told() -> Iterator[None]:
    """Turn a full disk or a limit of files' size, wherever it is met, into a message with a remedy.

    Raises:
        SystemFault: no space, no larger files, a read-only file system.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        place = error.filename or f"a file (here in {Path.cwd()}, or for a moment in {tempfile.gettempdir()})"
        raise SystemFault(f"cannot write {place}: {REMEDY[error.errno]}") from error


def check_temporary() -> None:
    """Check that temporary files can be written: Snakemake needs them, and its own error has no remedy.

    Raises:
        SystemFault: they cannot.
    """
    with explained(Path(tempfile.gettempdir())), tempfile.TemporaryFile() as file:
        file.write(bytes(TEMPORARY_BYTES))
        file.flush()


def check_folder(path: Path) -> None:
    """Check that what is at `path`, if anything, is a folder that may be written.

    Raises:
        SystemFault: it is not.
    """
    if path.exists() and not (path.is_dir() and os.access(path, os.W_OK)):
        raise SystemFault(f"cannot write {path}: {REMEDY[errno.EACCES if path.is_dir() else errno.ENOTDIR]}")


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed and renamed to `path`, on failure removed."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it becomes `path`, unless another process was first.

    The lock of `path` is held meanwhile, so that what is found of earlier tries was left by a process that was killed.
    """
    with explained(path), locks.all_of([locks.of(path)]):
        for left in path.parent.iterdir():
            if made_for(left) == path.name:
                shutil.rmtree(left, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            yield temporary
            for file in temporary.iterdir():
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
            temporary.chmod(0o755)
            try:
                temporary.rename(path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def made_for(path: Path) -> str | None:
    """The name that a temporary file or folder was to get; None if `path` is none."""
    found = TEMPORARY.fullmatch(path.name)
    return found[1] if found else None


def filled(path: Path) -> bool:
    """Whether there is anything at `path` but an empty folder."""
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def cache_folder() -> Path:
    """Where a user's programs keep what can be made again: below the home folder, if there is one to write to.

    Else a folder of the user's own among the temporary ones, as for a user without a name in a container.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    with contextlib.suppress(RuntimeError):  # no home folder is known
        given = given if given.is_absolute() else Path.home() / ".cache"
    folder = given / "bnbench"
    if given.is_absolute() and os.access(next(path for path in (folder, *folder.parents) if path.exists()), os.W_OK):
        return folder
    return private_folder()


def private_folder() -> Path:
    """A folder among the temporary ones that this user alone can write to, the same in each process.

    Raises:
        SystemFault: it cannot be made, or belongs to somebody else.
    """
    folder = Path(tempfile.gettempdir()) / f"bnbench-{os.getuid()}"
    with explained(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o022:
        raise SystemFault(f"{folder} can be written by others; remove it, or set XDG_CACHE_HOME to a folder of yours")
    return folder


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


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
