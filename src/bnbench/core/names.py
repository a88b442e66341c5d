"""Checks of file names in downloads and archives: safe paths, files of operating systems, lengths."""

import unicodedata
from pathlib import PureWindowsPath

LISTING = "SHA256SUMS"  # as `sha256sum` writes it: a digest and a path on each line
MAX_NAME = 200  # bytes of a file's or folder's name: file systems hold 255, and a temporary name adds some
MAX_PATH = 1000  # bytes of a path

# names, in lower case, that operating systems and programs give to files of their own beside a user's files
LITTER = {
    *("__macosx", ".ds_store", ".localized", ".spotlight-v100", ".trashes", ".fseventsd", "icon\r"),  # macOS
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),  # Windows
    *(".directory", "@eadir", ".ipynb_checkpoints"),  # KDE, Synology, Jupyter
}


def escape(name: str) -> str:
    """Return the reason why a path may leave its folder, or an empty text if it cannot."""
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
    """Return the part of a path that an operating system made (`__MACOSX`, `._*`, `Thumbs.db`), or an empty text."""
    for part in name.split("/"):
        if part.startswith("._"):
            return "._*"  # attributes of a file, which macOS stores beside it on other file systems
        if part.lower() in LITTER:
            return part
    return ""


def is_hidden(name: str) -> bool:
    """Return whether the name of a file, or of a folder above it, begins with a dot."""
    return any(part.startswith(".") for part in name.split("/"))


def unfit(name: str) -> str:
    """Return the reason why a file of this name cannot be downloaded, or an empty text if it can."""
    size = len(name.encode(errors="replace"))
    if reason := escape(name):
        return reason
    if any(part.endswith(".part") for part in name.split("/")):
        return "ends with .part, as unfinished downloads do"
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        return "has a control character in it, as a line break"
    if size > MAX_PATH or max(len(part.encode()) for part in name.split("/")) > MAX_NAME:
        return f"has {size} bytes; at most {MAX_NAME} in each name, {MAX_PATH} with its folders"
    return ""


def plain(name: str) -> str:
    """Return a path if it can be declared as a raw file: not hidden, and fit for a download.

    Raises:
        ValueError: it cannot; the message names the rule.
    """
    if reason := unfit(name) or ("is hidden (a leading dot)" if is_hidden(name) else ""):
        raise ValueError(f"a file name that {reason}; write a plain path below the folder")
    return name
