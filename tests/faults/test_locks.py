"""A lock that cannot be acquired is explained; no other use of its file releases a held lock."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bnbench.core import locks
from bnbench.core.atomic import atomic_folder
from bnbench.core.errors import SystemFault
from tests.faults.clones import TRAIN, clone, started

FREE = """
import pathlib, sys
from bnbench.core import locks
with locks.if_free(locks.of(pathlib.Path(sys.argv[1]))) as held:
    print(held)
"""


def free(path: Path) -> bool:
    """Return whether another process can acquire the lock of `path`."""
    done = subprocess.run([sys.executable, "-c", FREE, str(path)], capture_output=True, text=True, check=True)
    return done.stdout == "True\n"


def test_a_folder_in_the_place_of_a_lock_is_told_with_the_remedy(tmp_path: Path) -> None:
    clone(tmp_path / "one")
    (tmp_path / "one" / "results" / "runs" / ".locks").mkdir(parents=True)
    with started(tmp_path / "one", *TRAIN) as start:
        told = start.ended(4)
    assert "cannot lock results/runs/.locks, for run " in told
    assert "a folder lies where a file is needed; move it away" in told


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_lock_that_the_system_refuses_is_told_with_the_remedy(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(*((fcntl, "lockf") if number in (errno.ENOLCK, errno.EOPNOTSUPP) else (os, "open")), refuse)
    with pytest.raises(SystemFault) as caught, locks.all_of([locks.of(tmp_path / "it")]):
        pass
    assert str(caught.value) == f"cannot lock {tmp_path}/.locks, for {tmp_path}/it: {locks.REMEDY[number]}"


def test_no_other_use_of_a_lock_file_drops_a_lock(tmp_path: Path) -> None:
    one, other = locks.of(tmp_path / "one"), locks.of(tmp_path / "other")
    with locks.all_of([one]):
        with locks.all_of([one, other]):
            assert not free(tmp_path / "other")
        assert locks.holder(other) is None
        assert free(tmp_path / "other")
        with locks.if_free(other) as held:
            assert held
        with atomic_folder(tmp_path / "one") as folder:
            (folder / "file").touch()
        assert not free(tmp_path / "one")
        assert locks.holder(one) == os.getpid()
    assert free(tmp_path / "one")


def test_threads_exclude_each_other(tmp_path: Path) -> None:
    lock, got = locks.of(tmp_path / "one"), list[bool]()

    def ask() -> None:
        with locks.if_free(lock) as held:
            got.append(held)

    with locks.all_of([lock]):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    ask()
    assert got == [False, True]


def test_a_child_has_none_of_its_parents_locks(tmp_path: Path) -> None:
    lock = locks.of(tmp_path / "one")
    with locks.all_of([lock]):
        child = os.fork()
        if not child:
            with locks.if_free(lock) as held:
                os._exit(held)
        assert os.waitpid(child, 0)[1] == 0
        assert not free(tmp_path / "one")


def test_a_lock_file_that_was_deleted_meanwhile_protects_no_more_than_the_new_one(tmp_path: Path) -> None:
    with locks.all_of([locks.of(tmp_path / "one")]):
        (tmp_path / locks.NAME).unlink()
        assert free(tmp_path / "one")
        with locks.all_of([locks.of(tmp_path / "one")]):
            assert not free(tmp_path / "one")


def test_whoever_may_write_the_folder_may_lock(tmp_path: Path) -> None:
    tmp_path.chmod(0o775)
    with locks.all_of([locks.of(tmp_path / "one")]):
        assert (tmp_path / locks.NAME).stat().st_mode & 0o777 == 0o664
