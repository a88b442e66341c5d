"""Locks between processes, clones and machines: bytes of hidden files, beside what they protect.

The system drops a lock when its process ends, however it ends. They are `fcntl`'s record locks: the kind that network
file systems have too, and of which the system knows the holder. A process loses all its locks of a file when it closes
any of its descriptors of that file; so only this module opens such files, each once, and never closes one.
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
TRY_SECONDS, TELL_SECONDS = 0.1, 1.0  # between two tries; before it is said what is waited for
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

_files: dict[tuple[int, int, int], int] = {}  # device, inode and mode of a lock file -> its one descriptor here
_held: dict[tuple[int, int], list[int]] = {}  # descriptor and place -> the thread that has it, once for each hold
_one = threading.RLock()  # to the system a process's threads are one


def _forked() -> None:
    """A child has none of its parent's locks."""
    _held.clear()
    _one.release()


os.register_at_fork(before=_one.acquire, after_in_parent=_one.release, after_in_child=_forked)


@dataclass(frozen=True, order=True)
class Lock:
    """Bytes of a lock file from `place` on, and what they protect, as a message names it."""

    file: Path
    place: int
    what: str
    length: int = 1


def of(path: Path, what: str = "") -> Lock:
    """The lock of what is made at `path`: beside it, so that all who reach it, through whatever link, ask for one."""
    return Lock(path.parent / NAME, int(hashlib.sha256(os.fsencode(path.name)).hexdigest()[:15], 16), what or str(path))


@contextlib.contextmanager
def first_of(locks: Sequence[Lock], pause: Callable[[], object] = lambda: None) -> Iterator[Lock]:
    """Hold the first of these locks that is free; wait while none is, and say so. This thread's own are free.

    Args:
        locks: at least one.
        pause: called between two tries; what it raises ends the waiting.

    Raises:
        SystemFault: a lock file cannot be opened or locked.
    """
    lock, handle = _taken(locks, pause)
    try:
        yield lock
    finally:
        _release(lock, handle)


@contextlib.contextmanager
def all_of(locks: Sequence[Lock], pause: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold these locks, as `first_of`; they are taken in one order, so that two processes never wait for each other."""
    with contextlib.ExitStack() as held:
        for lock in sorted(locks):
            held.enter_context(first_of([lock], pause))
        yield


@contextlib.contextmanager
def if_free(lock: Lock) -> Iterator[bool]:
    """Hold a lock if it is free, without waiting; tells whether it is held."""
    handle = keep(lock)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            _release(lock, handle)


def keep(lock: Lock) -> int | None:
    """Take a lock if it is free, to the end of this process; None if another process has it.

    Raises:
        SystemFault: the lock file cannot be opened or locked.
    """
    with _explained(lock), _one:
        while True:
            handle = _opened(lock.file, os.O_RDWR | os.O_CREAT)
            holds = _held.get((handle, lock.place), [])
            if holds and threading.get_ident() not in holds:
                return None
            try:
                if not holds:
                    fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, lock.length, lock.place)
            except OSError as error:
                if error.errno in BUSY:
                    return None
                raise
            _held[handle, lock.place] = [*holds, threading.get_ident()]
            if _key(lock.file, os.O_RDWR) == _key(handle, os.O_RDWR):
                return handle
            _release(lock, handle)  # of a file that was deleted meanwhile


def holder(lock: Lock) -> int | None:
    """The process that holds the lock, or some of it: its number, 0 if it cannot be seen from here; None if it is free.

    Raises:
        SystemFault: the lock file cannot be read.
    """
    with _explained(lock), _one:
        try:
            known = _key(lock.file, os.O_RDWR) in _files
            handle = _opened(lock.file, os.O_RDWR if known else os.O_RDONLY)
        except FileNotFoundError:
            return None
        places = range(lock.place, lock.place + lock.length)
        if any(at == handle and place in places for at, place in _held):
            return os.getpid()
        asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, lock.place, lock.length, 0)
        kind, _, _, _, process = struct.unpack(FLOCK, fcntl.fcntl(handle, fcntl.F_GETLK, asked))
        return None if kind == fcntl.F_UNLCK else max(0, process)


def named(process: int) -> str:
    """A lock's holder, for a message: `process 12 (python bnbench train job.json)`."""
    try:
        words = psutil.Process(process).cmdline() if process else []
    except psutil.Error:
        words = []
    if not words:
        return "a process that cannot be seen from here, perhaps of another machine"
    command = " ".join([os.path.basename(words[0]), *words[1:]])  # noqa: PTH119 - a word, not a path
    return f"process {process} ({command[:80]}{'...' if len(command) > 80 else ''})"


def _taken(locks: Sequence[Lock], pause: Callable[[], object]) -> tuple[Lock, int]:
    begun, told = time.monotonic(), False
    while True:
        for lock in locks:
            if (handle := keep(lock)) is not None:
                if told:
                    _tell(f"going on with {lock.what}, after {time.monotonic() - begun:.0f} s")
                return lock, handle
        if not told and time.monotonic() - begun > TELL_SECONDS:
            told = True
            for lock in locks:
                if (process := holder(lock)) is not None:
                    _tell(f"waiting for {lock.what}: {named(process)} works on it")
        pause()
        time.sleep(TRY_SECONDS)


def _tell(line: str) -> None:
    print(f"bnbench: {line}", file=sys.stderr, flush=True)


def _release(lock: Lock, handle: int) -> None:
    with _one:
        _held[handle, lock.place].pop()
        if not _held[handle, lock.place]:
            del _held[handle, lock.place]
            fcntl.lockf(handle, fcntl.LOCK_UN, lock.length, lock.place)


def _key(file: Path | int, mode: int) -> tuple[int, int, int] | None:
    try:
        found = os.fstat(file) if isinstance(file, int) else file.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, mode


def _opened(file: Path, flags: int) -> int:
    """The descriptor of a lock file in this process. Who may write its folder may lock."""
    mode = flags & os.O_ACCMODE
    known = _key(file, mode)
    if known in _files:
        return _files[known]
    if flags & os.O_CREAT:
        file.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(file, flags | os.O_CLOEXEC, 0o600)
    if flags & os.O_CREAT:
        with contextlib.suppress(PermissionError):  # another user's, who has done so
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
