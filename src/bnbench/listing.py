"""Names of raw files: paths that stay within their folder, and the many that one SHA256SUMS lists."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

from bnbench.errors import DataError

LISTING = "SHA256SUMS"  # as `sha256sum` writes it: a digest and a path a line
LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")

# what operating systems and programs put beside a user's files, in lower case; the names of none are a user's choice
LITTER = {
    *("__macosx", ".ds_store", ".localized", ".spotlight-v100", ".trashes", ".fseventsd", "icon\r"),  # macOS
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),  # Windows
    *(".directory", "@eadir", ".ipynb_checkpoints"),  # KDE, Synology, Jupyter
}


def escape(name: str) -> str:
    """Return why a path cannot be one below its folder, or nothing if it can."""
    if "\0" in name:
        return "has a null character in it"
    if PureWindowsPath(name).anchor:
        return "is absolute, so it leaves the folder"
    if "\\" in name:
        return "has a backslash in it, which some systems take for a folder"
    if ".." in name.split("/"):
        return "leaves the folder (..)"
    if not all(part and part != "." for part in name.split("/")):
        return "has an empty part"
    return ""


def litter(name: str) -> str:
    """Return the part of a path that an operating system made (`__MACOSX`, `._*`, `Thumbs.db`), or nothing."""
    for part in name.split("/"):
        if part.startswith("._"):
            return "._*"  # what macOS keeps of a file beside it where the disk has no place for that
        if part.lower() in LITTER:
            return part
    return ""


def is_hidden(name: str) -> bool:
    """Whether a path, or a folder on its way, begins with a dot."""
    return any(part.startswith(".") for part in name.split("/"))


def unfit(name: str) -> str:
    """Return why a file of this name cannot be downloaded, or nothing if it can."""
    return escape(name) or ("ends with .part, as unfinished downloads do" if name.endswith(".part") else "")


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
        name = match[2].removeprefix("./")  # as `find` gives them
        if reason := unfit(name) or ("stands twice" if name in listed else ""):
            raise DataError(f"{path}:{number}: {name!r} {reason}; write a path below this folder, once")
        listed[name] = f"sha256:{match[1]}"
    if not listed:
        raise DataError(f"{path}: lists no file")
    return listed
