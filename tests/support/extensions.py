"""The additions documented in CONTRIBUTING.md, as patches."""

import re
from pathlib import Path

from tests.support.little import ROOT


def patch(title: str, folder: Path) -> Path:
    """Write the diff below the heading `title` of CONTRIBUTING.md to a file in `folder`, for `git apply`."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (diff,) = re.findall(rf"^## {title}\n(?:(?!^## ).*\n)*?```diff\n((?:.*\n)*?)```\n", text, re.MULTILINE)
    path = folder / f"{title.replace(' ', '-').lower()}.diff"
    path.write_text(diff)
    return path
