"""The git commit of a project's folder, and the files changed since."""

import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

DECIDE = ("params.yaml", "src", "workflow")  # the parts of a clone that decide a result
# prefixes of git's variables that configure it; all others may name another repository
PASSED_ON = ("GIT_CONFIG_", "GIT_CEILING_", "GIT_DISCOVERY_", "GIT_EXEC_PATH")


@cache
def revision(folder: Path) -> dict[str, Any] | None:
    """Return the commit of the repository that tracks a project's folder, and the files changed since.

    Returns:
        `commit`, `clean` and `changed`; or `refused`, git's reason for not answering. None if no repository tracks the
        project, as one of a folder above it (say, of a home folder's settings) may not.
    """
    try:
        _ask(folder, "rev-parse", "--git-dir")
        if not _ask(folder, "ls-files", "--", *DECIDE):
            return None
        head = _ask(folder, "rev-parse", "--verify", "--quiet", "HEAD").strip()
        decide = [*DECIDE, *_program(folder)]
        changes = _ask(folder, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=normal", "--", *decide)
    except _Refused as error:
        above = any((place / ".git").exists() for place in (folder.absolute(), *folder.absolute().parents))
        reason = str(error).removeprefix("fatal: ").partition("\n")[0].partition(" at '")[0]
        known = not reason or reason.startswith("not a git repository")  # no reason: there is no commit yet
        return None if known or not above else {"refused": reason}
    changed = sorted(line[3:] for line in changes.split("\0") if line)
    return {"commit": head, "clean": not changed, "changed": changed}


def _program(folder: Path) -> list[str]:
    """Return the path of this package if the same repository tracks it: that of an example lies above its folder."""
    package = Path(__file__).resolve().parents[1]
    top = Path(_ask(folder, "rev-parse", "--show-toplevel").rstrip("\n"))
    return [str(package)] if package.is_relative_to(top) else []


class _Refused(Exception):
    """A refusal by git, with its message."""


def _ask(folder: Path, *arguments: str) -> str:
    """Run git on the folder, without variables that name another repository, and return its output."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or key.startswith(PASSED_ON)}
    environment = clean | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=environment, capture_output=True, timeout=60, check=False
        )
    except FileNotFoundError:
        raise _Refused("git is not installed") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _Refused(f"git does not answer ({type(error).__name__})") from None
    if done.returncode:
        raise _Refused(os.fsdecode(done.stderr).strip())
    return os.fsdecode(done.stdout)
