"""A claim that no run of the tier could decide is refused before training, with its line and the remedy."""

import re
from pathlib import Path

import pytest

from bnbench.params.resolve import resolve
from tests.support.parameters import TOY, line_of, refusal, toy

CLAIM = """\
    claims:
      E-c1:
        statement: Batch norm helps.
        source: table 1
        needs: {dataset: [digits]}
        test:
          kind: difference
          y: test_accuracy
          where: {learning_rate: 0.1}
          more: {norm: batch}
          less: {norm: none}
          smallest: 0.01
          published: [0.98, 0.97]
"""
END = "        hue: norm\n"


def claimed(folder: Path, *edits: tuple[str, str]) -> Path:
    """Write the toy file with a claim, edited."""
    assert TOY.endswith(END)
    claim, others = CLAIM, []
    for old, new in edits:
        if old in claim:
            assert claim.count(old) == 1
            claim = claim.replace(old, new)
        else:
            others.append((old, new))
    return toy(folder, *others, (END, END + claim))


def test_a_claim_is_resolved_with_its_study(tmp_path: Path) -> None:
    (study,) = resolve(claimed(tmp_path)).studies
    assert study.study.claims["E-c1"].parts[0].published == [0.98, 0.97]


def test_a_study_needs_no_work(tmp_path: Path) -> None:
    (study,) = resolve(toy(tmp_path, ("    work: E\n", ""))).studies
    assert study.study.work is None


DIFFERENCE = CLAIM[CLAIM.index("          kind") :]
LEVEL = """\
          kind: every
          parts: [{kind: level, side: at_least, value: 2, y: test_accuracy, smallest: 0.1}]
"""
# edit -> the key at fault, and its message
WRONG: dict[str, tuple[tuple[str, str], str, str]] = {
    "no such work": (("work: E", "work: EE"), "S.work", "no work 'EE' under works; .*did you mean 'E'.*declare"),
    "no such study": (("y: test", "study: T\n          y: test"), "test.study", "no study 'T'; the file has S"),
    "no such column": (("y: test_accuracy", "y: test_acuracy"), "test.y", "is not measured.*did you mean"),
    "no such probe": (("y: test", "probe: neurons\n          y: test"), "test.probe", "do not record 'neurons'"),
    "no such cell": (("more: {norm: batch}", "more: {norm: group}"), "test.more", "no run of study S.*'group'.*grid"),
    "no such value": (("{learning_rate: 0.1}", "{learning_rate: 7}"), "test.where", "no run of study S in tier quick"),
    "several cells": (("{learning_rate: 0.1}", "{}"), "test.more", "differ in learning_rate .*select one value"),
    "one seed": (("seed: [0, 1]", "seed: [0]"), "test", "at least 2 seeds.*there is 1.*add seeds"),
    "percent": (("[0.98, 0.97]", "[98, 0.97]"), "test.published[0]", "within 0 and 1, got 98; write 0.985"),
    "one value for two arms": (("[0.98, 0.97]", "[0.98]"), "test.published", "value for each of more, less"),
    "a level out of range": ((DIFFERENCE, LEVEL), "test.parts[0].value", "within 0 and 1, got 2"),
    "no such setting": (("y: test", "each: nrom\n          y: test"), "test.each", "'nrom' is no setting.*'norm'"),
    "nothing to reduce to": (("y: test", "during: true\n          y: test"), "test.during", "add `reduce`"),
    "no value for the tier": (("y: test", "reach: {full: 0.9}\n          y: test"), "test.reach", "no value for tier"),
    "no statement": (("        statement: Batch norm helps.\n", ""), "statement", "required, but missing"),
    "no such kind": (("kind: difference", "kind: diference"), "test.kind", "did you mean 'difference'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_a_claim_names_and_is_not_there_is_refused_with_line_key_and_remedy(tmp_path: Path, name: str) -> None:
    edit, key, message = WRONG[name]
    path = claimed(tmp_path, edit)
    lines = refusal(path).splitlines()
    found = [line for line in lines if re.search(rf"{re.escape(key)}: .*{message}", line)]
    assert found, lines
    place = re.match(r"params\.yaml:(\d+): ", found[0])
    assert place
    assert int(place[1]) >= line_of(path, "work: ")


def test_two_claims_of_one_name_are_refused(tmp_path: Path) -> None:
    path = claimed(tmp_path)
    text = path.read_text()
    study = text[text.index("  S:\n") :]
    path.write_text(text + study.replace("  S:\n", "  T:\n", 1))
    assert "study S has a claim of this name" in refusal(path)
