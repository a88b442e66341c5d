"""The list of paths is complete, and no other module spells out a path."""

import re
from pathlib import Path

import pytest

from bnbench.core.paths import OUTPUTS, Project, folders
from tests.support.little import ROOT

WRITTEN_BY_HAND = re.compile(r"""["'](?:results|reports|data|\.bnbench|logs)/""")
PARTS = re.compile(r"""(?:/|Path\() *["'](?:results|reports|\.bnbench|prepared|augmented|raw)["']""")
SOURCES = [path for path in sorted((ROOT / "src" / "bnbench").rglob("*.py")) if path.name != "paths.py"]


def test_every_path_of_a_project_lies_below_its_folder_and_is_an_output(tmp_path: Path) -> None:
    here, there = Project(), Project(tmp_path)
    listed = {output.pattern for output in OUTPUTS}
    tops = {Path(), here.results, here.reports, here.work, here.logs}
    for name, path in vars(here).items():
        assert getattr(there, name) == tmp_path / path
        assert path in tops or any(path in (pattern, *pattern.parents) for pattern in listed), name


def test_the_path_of_a_data_set_matches_the_pattern_of_one_output() -> None:
    project = Project()
    paths = [project.raw_of("d", "k"), project.prepared_of("d", "k"), project.augmented_of("d", "a", "k")]
    for path in [*paths, *project.report, project.runs / "0", project.jobs / "0.json"]:
        assert sum(path.match(str(output.pattern)) for output in OUTPUTS) == 1, path


def test_the_rules_write_only_outputs() -> None:
    rules = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    written = re.findall(r'"((?:data|results|reports|logs|\.bnbench)/[^" ]*)"', rules)
    assert len(written) > 10
    for text in written:
        path = Path(re.sub(r"\{[^}]*\}", "x", text))
        assert path in folders() or any(path.match(str(output.pattern)) for output in OUTPUTS), text


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_other_module_assembles_such_a_path(path: Path) -> None:
    code = path.read_text()
    assert WRITTEN_BY_HAND.findall(code) + PARTS.findall(code) == []
