"""Mirrors of a data set: web addresses and local folders, in the order in which they are tried."""

import os
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bnbench.core.errors import UserError
from bnbench.data.fetch import MirrorError
from bnbench.params.dataset_schema import Dataset

MIRROR = "BNBENCH_MIRROR"  # the environment variable with a mirror of the user's own


def mirrors(name: str, dataset: Dataset) -> list[list[str]]:
    """Return the addresses or folders to try for each mirror.

    BNBENCH_MIRROR and local mirrors may have a sub-folder for each data set.

    Raises:
        UserError: a mirror of unknown kind.
    """
    own = os.environ.get(MIRROR)
    declared = [(mirror, f"datasets.{name}.mirrors") for mirror in dataset.mirrors]
    bases = []
    for mirror, where in [(own, MIRROR), *declared] if own else declared:
        base = _checked(mirror, where).rstrip("/") or "/"
        bases.append([f"{base}/{name}", base] if where == MIRROR or is_local(base) else [base])
    return bases


def _checked(mirror: str, where: str) -> str:
    scheme, is_address, rest = mirror.partition("://")
    host = rest.partition("/")[0]
    if is_address and (scheme not in ("https", "http", "file") or (scheme != "file" and not host)):
        raise UserError(f"{where}: {mirror} is not an https, http or file address and not a folder")
    if scheme == "file" and host not in ("", "localhost"):
        raise UserError(f"{where}: {mirror} names a machine; write file:/// and the folder's full path")
    return mirror


def is_local(base: str) -> bool:
    """Return whether a mirror is a folder of this machine."""
    return "://" not in base or base.startswith("file://")


def _folder(base: str) -> Path:
    try:
        return Path(unquote(urlsplit(base).path) if base.startswith("file://") else base).expanduser()
    except RuntimeError:
        raise MirrorError(f"this machine knows no home folder {base.split('/')[0]}; write the full path") from None


def copy(base: str, name: str, part: Path) -> None:
    """Copy a file of a local mirror.

    Args:
        base: the mirror.
        name: the path of the file below it.
        part: the destination.

    Raises:
        MirrorError: no such file, or one that cannot be read.
    """
    source = _folder(base) / name
    try:
        if not source.is_file():
            raise MirrorError("no such file")
        source.open("rb").close()  # so that an OSError below is about writing
    except OSError as error:
        raise MirrorError(f"cannot be read: {error.strerror}") from None
    shutil.copyfile(source, part)
