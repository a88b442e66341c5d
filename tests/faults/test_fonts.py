"""Titles in any script: drawn with a font of the machine, or a message names the font to install; figures and PDF."""

import unicodedata
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from bnbench.core.files import read_json, write_sealed
from bnbench.figures import fonts
from bnbench.figures.draw import draw
from tests.faults.drawn import command, filled
from tests.support.shell import contents
from tests.support.store import DENSE, as_record

NOWHERE = "\U0001cf00\U0001cf01"  # of Znamenny notation, which common fonts lack
TITLE = f"手写数字 한국어 日本語 🎉 {NOWHERE}"
BY_DATA = {
    "kind": "sweep", "title": "A figure", "x": "learning_rate", "hue": "dataset",
    "where": {"norm": "batch", "model": DENSE, "batch_size": 16},
}  # fmt: skip


def make_font(place: Path, name: str, characters: str) -> None:
    """Write a font in which each of these characters is a square."""
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for corner in ((100, 800), (900, 800), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square, names = pen.glyph(), [f"u{ord(character):x}" for character in characters]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names])
    builder.setupCharacterMap(dict(zip(map(ord, characters), names, strict=True)))
    builder.setupGlyf(dict.fromkeys([".notdef", *names], square))
    builder.setupHorizontalMetrics(dict.fromkeys([".notdef", *names], (1000, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": name, "styleName": "Regular", "psName": name})
    builder.setupOS2(sTypoAscender=800, sTypoDescender=-200, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    place.mkdir(parents=True, exist_ok=True)
    builder.save(place / f"{name}.ttf")


def titled(folder: Path, title: str) -> Path:
    """Return a filled folder whose data set has this title, shown in a legend, the caption and the report."""
    filled(folder, by_data=BY_DATA)
    plan = read_json(folder / "plan.json")
    plan["datasets"]["digits"]["title"] = title
    plan["studies"]["E1"]["title"] = title
    write_sealed(folder / "plan.json", plan)
    return folder


def told(folder: Path, variables: dict[str, str]) -> tuple[str, str]:
    """Return the output of drawing the figures and of writing the report."""
    tables, figures = ("--tables", folder / "tables"), folder / "figures"
    first = command(folder, "figures", folder / "plan.json", *tables, "--out", figures, variables=variables)
    then = ("report", folder / "plan.json", *tables, "--figures", figures, "--out", folder)
    return first, command(folder, *then, variables=variables)


@pytest.mark.slow
def test_a_font_of_the_machine_writes_what_the_usual_one_lacks(tmp_path: Path) -> None:
    make_font(tmp_path / "data" / "fonts", "AAASquares", "".join(sorted(set(TITLE) - {" "})))
    folder = titled(tmp_path / "filled", TITLE)
    assert told(folder, {"XDG_DATA_HOME": str(tmp_path / "data"), "HOME": str(tmp_path)}) == ("", "")
    assert 'id="AAASquares-' in (folder / "figures" / "E1" / "by_data.svg").read_text()
    assert b"AAASquares" in (folder / "report.pdf").read_bytes()
    assert TITLE in (folder / "report.html").read_text()


@pytest.mark.slow
def test_what_no_font_has_is_told_once_with_the_text_the_characters_and_the_remedy(tmp_path: Path) -> None:
    folder = titled(tmp_path / "filled", f"Digits {NOWHERE}")
    for said in told(folder, {"PYTHONIOENCODING": "utf-8"}):
        assert said.count("warning") == said.count("no font of this machine has") == 1
        assert f"{NOWHERE[0]} {NOWHERE[1]} (in 'Digits " in said
        assert "apt install fonts-noto" in said
        assert "Glyph" not in said
    first, _ = told(folder, {"PYTHONIOENCODING": "ascii"})
    assert "\\U0001cf00" in first


def test_what_is_taken_for_granted_is_there() -> None:
    seen = {character for character in fonts.SURE if unicodedata.category(character) not in fonts.INVISIBLE}
    assert seen <= fonts._characters(fonts.OWN)


@pytest.mark.parametrize("title", ["Größe → ∞", "ψηφία", "цифры", "أرقام مكتوبة", "ספרות"])
def test_scripts_that_the_usual_font_has_need_no_other(title: str) -> None:
    assert fonts.fallback([title]) == ([], set())


@pytest.mark.slow
def test_other_fonts_change_no_figure_that_needs_none(tmp_path: Path) -> None:
    folder = filled(tmp_path / "filled", by_data=BY_DATA)
    usual = command(folder, "figures", "plan.json", "--tables", "tables", "--out", "usual")
    make_font(tmp_path / "data" / "fonts", "DejaVu Sans", "abcdefgDit")
    plan = read_json(folder / "plan.json")
    draw(as_record(plan), folder / "tables", folder / "here", 1)
    variables = {"XDG_DATA_HOME": str(tmp_path / "data"), "HOME": str(tmp_path)}
    assert (
        command(folder, "figures", "plan.json", "--tables", "tables", "--out", "other", variables=variables)
        == usual
        == ""
    )
    assert contents(folder / "usual") == contents(folder / "other") == contents(folder / "here")


def test_a_characters_font_does_not_hang_on_other_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, characters in (("Noto Sans CJK X", "中文"), ("Better", "中文한국어"), ("Last Resort", "中文한국어ไทย")):
        make_font(tmp_path, name, characters)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: sorted(map(str, tmp_path.glob("*"))))
    fonts._machine.cache_clear()
    try:
        first, second = tmp_path / "Noto Sans CJK X.ttf", tmp_path / "Better.ttf"
        assert fonts.fallback(["中 abc"]) == ([first], set())
        assert fonts.fallback(["한국"]) == ([second], set())
        assert fonts.fallback(["中한", "ไ\n"]) == ([first, second], {"ไ"})
    finally:
        fonts._machine.cache_clear()
