"""Expansion of SHA256SUMS listings: the checksum of one listing stands for those of all files that it lists."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from bnbench.core.errors import DataError
from bnbench.core.names import LISTING, unfit

LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def expanded(files: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return `files` (path: checksum) of `folder`, and all files that the listings among them list.

    Raises:
        DataError: a listing is missing, empty or not as `sha256sum` writes it, or names a path outside its folder.
    """
    listed: dict[str, str] = {}
    for name in files:
        if PurePosixPath(name).name == LISTING:
            listed |= {str(PurePosixPath(name).parent / path): sha for path, sha in _read(folder / name).items()}
    return {**files, **listed}


def _read(path: Path) -> dict[str, str]:
    """Return the checksums of a listing by path."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run `bnbench download` first") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8; write it with `sha256sum`") from None
    listed: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = LINE.fullmatch(line)
        if match is None:
            raise DataError(
                f"{path}:{number}: not a sha256, two spaces and a path, as `sha256sum` writes: {line[:80]!r}"
            )
        name = match[2].removeprefix("./")  # as `find` prints them
        if reason := unfit(name) or ("is listed twice" if name in listed else ""):
            raise DataError(f"{path}:{number}: {name!r} {reason}; write a path below this folder, once")
        listed[name] = f"sha256:{match[1]}"
    if not listed:
        raise DataError(f"{path}: lists no file")
    return listed
