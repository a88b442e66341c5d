"""Fallback fonts of this machine for characters that DejaVu Sans lacks, in figures and PDF alike.

DejaVu Sans comes with matplotlib and has all characters of bnbench's own texts. Without other characters no font of the
machine is read, so that outputs have the same bytes everywhere.
"""

import sys
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from bnbench.figures import plain

OWN = plain.folder("matplotlib") / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
# characters it surely has: Latin, dashes and quotes, arrows, mathematics; for these matplotlib need not be loaded
SURE = {*map(chr, (*range(0x250), *range(0x2010, 0x2028), *range(0x2190, 0x2300)))}
# beginnings of names of families, the preferred first; other families follow by name
FIRST = ("noto sans cjk", "noto sans", "noto", "source han sans", "wenquanyi", "droid", "dejavu", "symbola")
BOXES = ("last resort", ".lastresort", "lastresort", "adobe blank")  # families with a box for every character
UPRIGHT = ("regular", "book", "normal", "roman", "medium")  # styles preferred to bold ones
REMEDY = "install one (Debian, Ubuntu: apt install fonts-noto-cjk fonts-noto-core fonts-symbola)"
INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp", "Zs")  # categories of Unicode: control, format, spaces
SHOWN = 60  # characters of a text that a message quotes


def fallback(texts: Iterable[str]) -> tuple[list[Path], set[str]]:
    """Return the fonts of this machine for characters that DejaVu Sans lacks, and the characters that no font has.

    A character's font is the first in a fixed order that has it, whatever the other texts are.
    """
    wanted = {character for character in set().union(*texts) - SURE if unicodedata.category(character) not in INVISIBLE}
    wanted -= _characters(OWN) if wanted else set()
    found = []
    for path in _machine() if wanted else ():
        if wanted & _characters(path):
            found.append(path)
            wanted -= _characters(path)
    return found, wanted


def families(fonts: Iterable[Path]) -> list[str]:
    """Register font files with matplotlib; return a unique family name for each."""
    from matplotlib import font_manager

    known = {entry.name for entry in font_manager.fontManager.ttflist}
    names = {f"bnbench {path}": path for path in fonts}
    for name in names.keys() - known:
        font_manager.fontManager.ttflist.append(font_manager.FontEntry(str(names[name]), name=name, size="scalable"))
    return list(names)


def warn(texts: Iterable[str], lacking: set[str], stage: str) -> None:
    """Print one warning: the characters that no font of this machine has, the texts they are in, and the remedy."""
    if not lacking:
        return
    hit = [text for text in dict.fromkeys(texts) if lacking & set(text)]
    shown = ", ".join(repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...") for text in hit[:3])
    more = f" and {len(hit) - 3} more texts" if len(hit) > 3 else ""
    missing = " ".join(sorted(lacking)[:20]) + (" ..." if len(lacking) > 20 else "")
    message = (
        f"bnbench {stage}: warning: no font of this machine has {missing} (in {shown or 'the report'}{more}): boxes"
        f" stand for them, but not in report.html; {REMEDY}, then snakemake --forcerun figures"
    )
    encoding = sys.stderr.encoding or "ascii"
    print(message.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr)


def strings(value: Any) -> Iterator[str]:
    """Yield all texts in a nested record."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)


@cache
def _machine() -> list[Path]:
    """Return the machine's fonts with outlines of one colour, preferred ones first; matplotlib draws no others."""
    plain.load()
    from matplotlib import font_manager
    from matplotlib.ft2font import FaceFlags, FT2Font

    found = []
    for name in font_manager.findSystemFonts():  # not matplotlib's cached list, which may be outdated
        try:
            face = FT2Font(name)
        except (OSError, RuntimeError):  # no font, or a bitmap font
            continue
        family, style = face.family_name.lower(), face.style_name.lower()
        if FaceFlags.SCALABLE in face.face_flags and FaceFlags.COLOR not in face.face_flags:
            rank = next((rank for rank, first in enumerate(FIRST) if family.startswith(first)), len(FIRST))
            key = (rank, style not in UPRIGHT, family, style, name)
            found += [] if family.startswith(BOXES) else [(key, Path(name))]
    return [path for _, path in sorted(found)]


@cache
def _characters(path: Path) -> frozenset[str]:
    """Return the characters that a font file has."""
    plain.load()
    from matplotlib.ft2font import FT2Font

    return frozenset(map(chr, FT2Font(path).get_charmap()))
