"""Locks between processes, clones and machines: bytes of a hidden file beside what they protect.

They are `fcntl`'s record locks: the operating system releases them when the process ends, however it ends, knows their
holder, and supports them on network file systems. A process loses all its locks of a file when it closes any of its
descriptors of that file; so only this module opens such files, each once, and never closes one.

The package filelock is no substitute: it locks whole files by `flock`, so it can neither name the holder that a message
or `bnbench doctor` reports, nor ask for a range of locks at once, as `core.starts` does.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bnbench.core.errors import SystemFault

NAME = ".locks"
TRY_SECONDS, REPORT_SECONDS = 0.1, 1.0  # between two attempts; before the wait is reported
FLOCK = "hhqqi4x"  # `struct flock` of 64-bit Linux: type, whence, start, length, process
BUSY = (errno.EAGAIN, errno.EACCES)
REMEDY = {
    errno.EISDIR: "a folder lies where a file is needed; move it away",
    errno.ENOTDIR: "a file lies where a folder is needed; move it away",
    errno.EEXIST: "a file lies where a folder is needed; move it away",
    errno.EACCES: "it may not be written; change its permissions or its owner, or those of its folder",
    errno.EPERM: "it may not be written; change its permissions or its owner, or those of its folder",
    errno.EROFS: "this file system is read-only; work in a folder that can be written",
    errno.ENOSPC: "no space is left on the disk; free some and run the same command again",
    errno.EDQUOT: "your disk quota is used up; free some space and run the same command again",
}
NO_LOCKS = (
    "this file system has no locks, or its lock service is down (on NFS: rpc.statd); "
    "mount it with locks, or work in a folder on another one"
)
REMEDY |= dict.fromkeys((errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL), NO_LOCKS)

_files: dict[tuple[int, int, int], int] = {}  # device, inode and mode of a lock file -> its only descriptor
_held: dict[tuple[int, int], list[int]] = {}  # descriptor and offset -> the holding thread, once per hold
_one = threading.RLock()  # to the operating system all threads of a process are one holder


def _forked() -> None:
    """Forget the parent's locks in a forked child, which does not inherit them."""
    _held.clear()
    _one.release()


os.register_at_fork(before=_one.acquire, after_in_parent=_one.release, after_in_child=_forked)


@dataclass(frozen=True, order=True)
class Lock:
    """Bytes of a lock file.

    Args:
        file: the lock file.
        offset: the first byte.
        what: what they protect, for messages.
        length: their number; more than one only to ask for a holder.
    """

    file: Path
    offset: int
    what: str
    length: int = 1


def of(path: Path, what: str = "") -> Lock:
    """Return the lock that protects `path`. It lies beside it, so every link to its folder leads to the same lock."""
    return Lock(path.parent / NAME, int(hashlib.sha256(os.fsencode(path.name)).hexdigest()[:15], 16), what or str(path))


@contextlib.contextmanager
def first_of(locks: Sequence[Lock], pause: Callable[[], object] = lambda: None) -> Iterator[Lock]:
    """Hold the first free one of these locks; wait while none is free, and report that. A thread's own locks are free.

    Args:
        locks: at least one.
        pause: called between two attempts; an exception from it ends the waiting.

    Yields:
        The lock that is held.

    Raises:
        SystemFault: a lock file cannot be opened or locked.
    """
    lock, handle = _wait_for(locks, pause)
    try:
        yield lock
    finally:
        _release(lock, handle)


@contextlib.contextmanager
def all_of(locks: Sequence[Lock], pause: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold all of these locks. They are acquired in sorted order, so that two processes never wait for each other."""
    with contextlib.ExitStack() as held:
        for lock in sorted(locks):
            held.enter_context(first_of([lock], pause))
        yield


@contextlib.contextmanager
def if_free(lock: Lock) -> Iterator[bool]:
    """Hold a lock if it is free, without waiting; yield whether it is held."""
    handle = acquire(lock)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            _release(lock, handle)


def acquire(lock: Lock) -> int | None:
    """Acquire a lock if it is free, until the end of this process.

    Returns:
        The descriptor of its file; None if another process or thread holds the lock.

    Raises:
        SystemFault: the lock file cannot be opened or locked.
    """
    with _explained(lock), _one:
        while True:
            handle = _opened(lock.file, os.O_RDWR | os.O_CREAT)
            holds = _held.get((handle, lock.offset), [])
            if holds and threading.get_ident() not in holds:
                return None
            try:
                if not holds:
                    fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, lock.length, lock.offset)
            except OSError as error:
                if error.errno in BUSY:
                    return None
                raise
            _held[handle, lock.offset] = [*holds, threading.get_ident()]
            if _key(lock.file, os.O_RDWR) == _key(handle, os.O_RDWR):
                return handle
            _release(lock, handle)  # the file was deleted meanwhile


def holder(lock: Lock) -> int | None:
    """Return the id of the process that holds the lock or a part of it.

    Returns:
        The process id; 0 if the process is not visible from this machine or container; None if the lock is free.

    Raises:
        SystemFault: the lock file cannot be read.
    """
    with _explained(lock), _one:
        try:
            known = _key(lock.file, os.O_RDWR) in _files
            handle = _opened(lock.file, os.O_RDWR if known else os.O_RDONLY)
        except FileNotFoundError:
            return None
        offsets = range(lock.offset, lock.offset + lock.length)
        if any(file == handle and offset in offsets for file, offset in _held):
            return os.getpid()
        asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, lock.offset, lock.length, 0)
        kind, _, _, _, process = struct.unpack(FLOCK, fcntl.fcntl(handle, fcntl.F_GETLK, asked))
        return None if kind == fcntl.F_UNLCK else max(0, process)


def describe(process: int) -> str:
    """Describe a lock's holder for a message: `process 12 (python bnbench train job.json)`."""
    try:
        words = psutil.Process(process).cmdline() if process else []
    except psutil.Error:
        words = []
    if not words:
        return "a process that cannot be seen from here, perhaps of another machine"
    command = " ".join([os.path.basename(words[0]), *words[1:]])  # noqa: PTH119 - a word, not a path
    return f"process {process} ({command[:80]}{'...' if len(command) > 80 else ''})"


def _wait_for(locks: Sequence[Lock], pause: Callable[[], object]) -> tuple[Lock, int]:
    started, reported = time.monotonic(), False
    while True:
        for lock in locks:
            if (handle := acquire(lock)) is not None:
                if reported:
                    _report(f"continuing with {lock.what}, after {time.monotonic() - started:.0f} s")
                return lock, handle
        if not reported and time.monotonic() - started > REPORT_SECONDS:
            reported = True
            for lock in locks:
                if (process := holder(lock)) is not None:
                    _report(f"waiting for {lock.what}: {describe(process)} works on it")
        pause()
        time.sleep(TRY_SECONDS)


def _report(line: str) -> None:
    print(f"bnbench: {line}", file=sys.stderr, flush=True)


def _release(lock: Lock, handle: int) -> None:
    with _one:
        _held[handle, lock.offset].pop()
        if not _held[handle, lock.offset]:
            del _held[handle, lock.offset]
            fcntl.lockf(handle, fcntl.LOCK_UN, lock.length, lock.offset)


def _key(file: Path | int, mode: int) -> tuple[int, int, int] | None:
    try:
        found = os.fstat(file) if isinstance(file, int) else file.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, mode


def _opened(file: Path, flags: int) -> int:
    """Return this process's descriptor of a lock file. Everybody who may write its folder may lock."""
    mode = flags & os.O_ACCMODE
    known = _key(file, mode)
    if known in _files:
        return _files[known]
    if flags & os.O_CREAT:
        file.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(file, flags | os.O_CLOEXEC, 0o600)
    if flags & os.O_CREAT:
        with contextlib.suppress(PermissionError):  # it is another user's, who has set it already
            os.fchmod(handle, file.parent.stat().st_mode & 0o666)
    key = _key(handle, mode)
    assert key
    return _files.setdefault(key, handle)


@contextlib.contextmanager
def _explained(lock: Lock) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in REMEDY:
            raise
        raise SystemFault(f"cannot lock {lock.file}, for {lock.what}: {REMEDY[error.errno]}") from error
