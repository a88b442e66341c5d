"""Reading and writing files so that nothing is ever half-written: temporary name, flush, rename."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from bnbench.errors import SystemFault, UserError

REMEDY = {
    errno.ENOSPC: "no space is left on the disk; free some and run the same command again",
    errno.EDQUOT: "your disk quota is used up; free some space and run the same command again",
    errno.EACCES: "this folder may not be written; change its permissions or its owner",
    errno.EPERM: "this folder may not be written; change its permissions or its owner",
    errno.ENOTDIR: "a file lies where a folder is needed; move it away",
    errno.EEXIST: "a file lies where a folder is needed; move it away",
    errno.EISDIR: "a folder lies where a file is needed; move it away",
    errno.EFBIG: "files may not grow so large here; raise the limit (ulimit -f) and run the same command again",
    errno.EROFS: "this file system is read-only; work in a folder that can be written",
}

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
    """Yield a temporary folder beside `path`; on success it becomes `path`, unless another process was first."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
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


def cache_folder() -> Path:
    """Where a user's programs keep what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bnbench"


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
    options = orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    write_bytes(path, orjson.dumps(value, option=options))


def read_json(path: Path) -> Any:
    """The value of a JSON file."""
    return orjson.loads(path.read_bytes())


def read_record(path: Path) -> Any:
    """The value of a JSON file that the workflow wrote and a user may name.

    Raises:
        UserError: there is no such file, or it is no JSON.
    """
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"no JSON: {error}"
        raise UserError(f"{path}: {reason}; name a file under .bnbench/, which `snakemake` writes") from None


def digest(*parts: object, length: int = 16) -> str:
    """Hash of any JSON values: `length` hex digits of the SHA-256 of their canonical form."""
    return hashlib.sha256(canonical(parts)).hexdigest()[:length]


def source_digest(*modules: str) -> str:
    """Hash of the source of `bnbench` modules: what they make carries it, so an edited stage is run anew."""
    folder = Path(__file__).parent
    texts = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sorted(modules)]
    return digest(texts)


def checksum(path: Path, algorithm: str) -> str:
    """Hex digest of a file's content, read in blocks of 1 MiB."""
    state = hashlib.new(algorithm)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()
