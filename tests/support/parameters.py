"""A small parameter file for tests, and edits of it."""

from pathlib import Path

from bnbench.core.errors import UserError
from bnbench.params.resolve import resolve

ROOT = Path(__file__).parents[2]
PARAMS = ROOT / "params.yaml"

# the training defaults are the project's own
TOY = """\
tier: quick
tiers:
  quick: {about: toy}
  small: {about: larger, base: {epochs: 5}}
datasets:
  digits:
    title: Digits
    format: digits
    licence: free
    shape: [1, 8, 8]
    classes: 10
    images: 1797
    split: {valid: 240, test: 360, seed: 0}
TRAINING
works:
  B: {title: One work, kind: tutorial, about: It taught.}
  E: {title: Another work, kind: report, about: It reported.}
studies:
  S:
    title: A study
    question: Does it?
    work: E
    base: {epochs: 4}
    grid:
      product:
        norm: [none, batch]
        learning_rate: [0.1, 1]
        seed: [0, 1]
    figures:
      f:
        kind: sweep
        title: A figure
        x: learning_rate
        y: test_accuracy
        hue: norm
"""
DEFAULTS = "training:" + PARAMS.read_text().partition("\ntraining:")[2].partition("\n\n")[0]
TOY = TOY.replace("TRAINING", DEFAULTS)


def toy(folder: Path, *edits: tuple[str, str]) -> Path:
    """Write the toy file to `folder`, with each `old` text, which must occur once, replaced by its `new` one."""
    text = TOY
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the toy file"
        text = text.replace(old, new)
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path, tier: str | None = None) -> str:
    """Return the message that refuses a parameter file."""
    try:
        resolve(path, tier)
    except UserError as error:
        return str(error).replace(str(path), path.name)
    raise AssertionError("the file was accepted")


def line_of(path: Path, text: str) -> int:
    """Return the number of the first line that contains `text`."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)
