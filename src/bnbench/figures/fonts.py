"""What DejaVu Sans, which comes with matplotlib, cannot write: fonts of this machine for it, in figures and PDF alike.

Where it can, as in all that bnbench says itself, no font of the machine is looked at: the same bytes everywhere.
"""

import sys
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from bnbench.figures import plain

OWN = plain.folder("matplotlib") / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
# what it surely has: Latin, dashes and quotes, arrows, mathematics. A report of these alone need not load matplotlib
SURE = {*map(chr, (*range(0x250), *range(0x2010, 0x2028), *range(0x2190, 0x2300)))}
# beginnings of families, the best first; others follow by name
FIRST = ("noto sans cjk", "noto sans", "noto", "source han sans", "wenquanyi", "droid", "dejavu", "symbola")
NO_LETTERS = ("last resort", ".lastresort", "lastresort", "adobe blank")  # which have a box for every character
PLAIN = ("regular", "book", "normal", "roman", "medium")  # styles, before bold ones
REMEDY = "install one (Debian, Ubuntu: apt install fonts-noto-cjk fonts-noto-core fonts-symbola)"
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp", "Zs")  # categories of Unicode: control, format, spaces
SHOWN = 60  # characters of a text in a message


def fallback(texts: Iterable[str]) -> tuple[list[Path], set[str]]:
    """The fonts of this machine to write what DejaVu Sans lacks, in their order, and the characters that none has.

    A character's font does not hang on the other texts: it is the first in the order that has it.
    """
    wanted = {character for character in set().union(*texts) - SURE if unicodedata.category(character) not in UNSEEN}
    wanted -= _characters(OWN) if wanted else set()
    found = []
    for path in _machine() if wanted else ():
        if wanted & _characters(path):
            found.append(path)
            wanted -= _characters(path)
    return found, wanted


def families(fonts: Iterable[Path]) -> list[str]:
    """The names by which matplotlib knows these files, and no others."""
    from matplotlib import font_manager

    known = {entry.name for entry in font_manager.fontManager.ttflist}
    names = {f"bnbench {path}": path for path in fonts}
    for name in names.keys() - known:
        font_manager.fontManager.ttflist.append(font_manager.FontEntry(str(names[name]), name=name, size="scalable"))
    return list(names)


def warn(texts: Iterable[str], lacking: set[str], stage: str) -> None:
    """Say once which characters of which texts no font here has, and what to do."""
    if not lacking:
        return
    hit = [text for text in dict.fromkeys(texts) if lacking & set(text)]
    shown = ", ".join(repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...") for text in hit[:3])
    more = f" and {len(hit) - 3} more texts" if len(hit) > 3 else ""
    what = " ".join(sorted(lacking)[:20]) + (" ..." if len(lacking) > 20 else "")
    told = (
        f"bnbench {stage}: warning: no font of this machine has {what} (in {shown or 'the report'}{more}): boxes"
        f" stand for them, but not in report.html; {REMEDY}, then snakemake --forcerun figures"
    )
    encoding = sys.stderr.encoding or "ascii"
    print(told.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr)


def strings(value: Any) -> Iterator[str]:
    """All texts in a record."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)


@cache
def _machine() -> list[Path]:
    """The machine's fonts with outlines of one colour: matplotlib draws no others."""
    plain.load()
    from matplotlib import font_manager
    from matplotlib.ft2font import FaceFlags, FT2Font

    found = []
    for name in font_manager.findSystemFonts():  # looked for each time: the list that matplotlib keeps may be old
        try:
            face = FT2Font(name)
        except (OSError, RuntimeError):  # no font, or one of pixels
            continue
        family, style = face.family_name.lower(), face.style_name.lower()
        if FaceFlags.SCALABLE in face.face_flags and FaceFlags.COLOR not in face.face_flags:
            rank = next((rank for rank, first in enumerate(FIRST) if family.startswith(first)), len(FIRST))
            key = (rank, style not in PLAIN, family, style, name)
            found += [] if family.startswith(NO_LETTERS) else [(key, Path(name))]
    return [path for _, path in sorted(found)]


@cache
def _characters(path: Path) -> frozenset[str]:
    plain.load()
    from matplotlib.ft2font import FT2Font

    return frozenset(map(chr, FT2Font(path).get_charmap()))
