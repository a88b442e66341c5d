"""Atomic writes of files and folders (temporary name, flush, rename), and system errors explained with a remedy."""

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bnbench.core import locks
from bnbench.core.errors import SystemFault

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

TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{6,8}")

TEMPORARY_BYTES = 1 << 20  # more than Snakemake needs

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an `OSError` about `path` into a message with a remedy.

    Raises:
        SystemFault: no space, no permission, a read-only file system.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in REMEDY:
            raise
        target = error.filename2 or error.filename or path  # the second file of a copy or a rename is the one written
        raise SystemFault(f"cannot write {target}: {REMEDY[error.errno]}") from error


def check_file(path: Path) -> None:
    """Check that `path` is no folder.

    Raises:
        SystemFault: it is one.
    """
    if path.is_dir():
        raise SystemFault(f"cannot write {path}: {REMEDY[errno.EISDIR]}")


@contextlib.contextmanager
def full_disk_explained() -> Iterator[None]:
    """Turn an `OSError` about a full disk or a limit on file sizes, wherever raised, into a message with a remedy.

    Raises:
        SystemFault: no space, no larger files, a read-only file system.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        target = error.filename or f"a file (here in {Path.cwd()}, or a temporary one in {tempfile.gettempdir()})"
        raise SystemFault(f"cannot write {target}: {REMEDY[error.errno]}") from error


def check_temporary() -> None:
    """Check that temporary files can be written. Snakemake needs them, and its own error has no remedy.

    Raises:
        SystemFault: they cannot be written.
    """
    with explained(Path(tempfile.gettempdir())), tempfile.TemporaryFile() as file:
        file.write(bytes(TEMPORARY_BYTES))
        file.flush()


def check_folder(path: Path) -> None:
    """Check that `path` is missing or a writable folder.

    Raises:
        SystemFault: it is neither.
    """
    if path.exists() and not (path.is_dir() and os.access(path, os.W_OK)):
        raise SystemFault(f"cannot write {path}: {REMEDY[errno.EACCES if path.is_dir() else errno.ENOTDIR]}")


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path`; flush and rename it to `path` on success, remove it on failure."""
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
    """Yield a temporary folder beside `path`; rename it to `path` on success, unless another process was faster.

    The lock of `path` is held meanwhile. So temporary folders of earlier attempts belong to processes that were killed,
    and are removed.
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
    """Return the final name of a temporary file or folder; None if `path` is not temporary."""
    found = TEMPORARY.fullmatch(path.name)
    return found[1] if found else None


def filled(path: Path) -> bool:
    """Return whether `path` exists and is no empty folder."""
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def cache_folder() -> Path:
    """Return the folder for files that can be rebuilt: in XDG_CACHE_HOME or `~/.cache`, if that can be written.

    Otherwise `private_folder`, as for a user without a home folder in a container.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    with contextlib.suppress(RuntimeError):  # no home folder is known
        given = given if given.is_absolute() else Path.home() / ".cache"
    folder = given / "bnbench"
    if given.is_absolute() and os.access(next(path for path in (folder, *folder.parents) if path.exists()), os.W_OK):
        return folder
    return private_folder()


def private_folder() -> Path:
    """Return a temporary folder that only this user can write to, the same one in each process.

    Raises:
        SystemFault: it cannot be created, or belongs to somebody else.
    """
    folder = Path(tempfile.gettempdir()) / f"bnbench-{os.getuid()}"
    with explained(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o022:
        raise SystemFault(f"{folder} can be written by others; remove it, or set XDG_CACHE_HOME to a folder of yours")
    return folder


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)
