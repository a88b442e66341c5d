"""Names of raw files: paths that stay within their folder, and the many that one SHA256SUMS lists."""

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from bnbench.errors import DataError

LISTING = "SHA256SUMS"  # as `sha256sum` writes it: a digest and a path a line
LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
MAX_NAME = 200  # bytes of a file's or folder's name: file systems hold 255, and a temporary name adds some
MAX_PATH = 1000  # bytes of all of them


def is_plain(name: str) -> bool:
    """Whether a path is relative, below its folder, and hides nothing."""
    return not any(sign in name for sign in "\\\0") and all(
        part and not part.startswith(".") and not part.endswith(".part") for part in name.split("/")
    )


def plain(name: str) -> str:
    """Return the path of a raw file if it is plain and fits a file system.

    Raises:
        ValueError: it is not; with the rule.
    """
    if not is_plain(name):
        raise ValueError(
            "a path that leaves the folder, is hidden or ends in .part; write a plain path below the folder"
        )
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        raise ValueError("a file name with a control character, as a line break; rename the file")
    size = len(name.encode())
    if size > MAX_PATH or max(len(part.encode()) for part in name.split("/")) > MAX_NAME:
        raise ValueError(f"a file name of {size} bytes; at most {MAX_NAME} in each name, {MAX_PATH} with its folders")
    return name


def expanded(files: Mapping[str, str], folder: Path) -> dict[str, str]:
    """`files` (path: checksum) of `folder`, and all that the listings among them list.

    Raises:
        DataError: a listing is missing, empty or not as `sha256sum` writes it, or names a path outside its folder.
    """
    more: dict[str, str] = {}
    for name in files:
        if PurePosixPath(name).name == LISTING:
            more |= {str(PurePosixPath(name).parent / path): sha for path, sha in _listed(folder / name).items()}
    return {**files, **more}


def _listed(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
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
        name = match[2]
        if name in listed:
            raise DataError(f"{path}:{number}: {name!r} stands twice; keep one of the two")
        try:
            plain(name)
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}, got {name[:80]!r}") from None
        listed[name] = f"sha256:{match[1]}"
    if not listed:
        raise DataError(f"{path}: lists no file")
    return listed
