"""An altered table, figure or report is detected, not used, and rebuilt."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bnbench.manage.doctor import examine
from tests.faults.derived import (
    HARMS,
    IDENTITIES,
    WRITTEN,
    another_value,
    asked,
    cut,
    empty,
    plan_file,
    restored,
    stage,
    start,
)
from tests.support.miniature import Project, belongs, miniature, trained
from tests.support.store import rewrite


def identities() -> list[Path]:
    return [path for pattern in IDENTITIES.values() for path in Path().glob(pattern)]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", WRITTEN)
def test_whatever_is_harmed_is_named_and_only_its_stage_is_asked_for(name: str, harm: str) -> None:
    assert asked() == set()
    for path in map(Path, WRITTEN[name]):
        with restored(path, *identities()):
            HARMS[harm](path)
            found = [finding for finding in examine() if not finding.note]
            assert [path.name in finding.what for finding in found] == [True], path
            assert found[0].remedy == "snakemake"
            assert asked() == {name}, path
    assert asked() == set()


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("harm", HARMS)
def test_an_identity_that_is_harmed_asks_for_its_stage(harm: str) -> None:
    for path in identities():
        with restored(*identities()):
            HARMS[harm](path)
            assert any(finding.remedy == "snakemake" for finding in examine())
            assert asked()


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("name", IDENTITIES)
def test_an_identity_under_another_name_is_none(name: str) -> None:
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("seed: [0, 1]", "seed: [0]"))
    old, wanted = next(Path().glob(IDENTITIES[name])), start().plan.identities[name]
    assert old != wanted
    old.rename(wanted)
    assert any(str(wanted) in finding.what for finding in examine())
    assert name in asked()


@pytest.mark.usefixtures("project")
def test_tables_in_the_place_of_others_of_the_same_identity_are_drawn_anew() -> None:
    plan = plan_file()
    rewrite(sorted(Path("results/runs").glob("[!.]*"))[0], test_accuracy=0.5)
    assert stage("tables", plan)[0] == 0
    assert asked() == {"figures", "report"}


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("harm", ["cut", "emptied", "deleted", "flipped", "another value"])
@pytest.mark.parametrize("name", ["figures", "report"])
def test_no_stage_takes_an_altered_table(name: str, harm: str) -> None:
    plan = plan_file()
    if harm == "another value":
        another_value(Path("results/tables"))
    else:
        HARMS[harm](Path("results/tables/runs.parquet"))
    code, said = stage(name, plan)
    assert code == 2, said
    assert re.search(r"results/tables/runs\.parquet: .*(no such file|it was altered)", said)
    assert "start snakemake" in said
    assert not list(Path().glob(IDENTITIES[name]))


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("harm", ["emptied", "cut", "flipped", "deleted"])
@pytest.mark.parametrize("file", ["S/f.md", "S/f.svg"])
def test_the_report_takes_no_altered_figure(harm: str, file: str) -> None:
    plan = plan_file()
    HARMS[harm](Path("reports/figures") / file)
    code, said = stage("report", plan)
    assert code == 2, said
    assert re.search(rf"reports/figures/{file}: .*(no such file|it was altered)", said)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("name", ["figures", "report"])
def test_tables_that_another_start_is_just_making_anew_are_told_of(name: str) -> None:
    plan = plan_file()
    shutil.rmtree("results/tables")
    code, said = stage(name, plan)
    assert code == 2, said
    assert "results/tables must hold one identity-" in said
    assert "wait until other starts have finished, then start snakemake" in said


@pytest.mark.usefixtures("project")
def test_a_folder_in_a_files_place_is_said_at_the_start() -> None:
    for place in (*WRITTEN["tables"], *WRITTEN["report"]):
        with restored(Path(place)):
            Path(place).unlink()
            (Path(place) / "mine").mkdir(parents=True)
            with pytest.raises(SystemExit, match=f"{re.escape(place)}: a folder lies where a file is needed"):
                start()
            shutil.rmtree(place)


# change of a finished project, followed by one start of Snakemake
DONE: dict[str, Callable[[Path], object]] = {
    "a value in a parquet": lambda p: another_value(p / "results/tables"),
    "a cut parquet": lambda p: cut(p / "results/tables/history.parquet"),
    "an emptied CSV": lambda p: empty(p / "results/tables/summary.csv"),
    "an emptied picture": lambda p: empty(p / "reports/figures/S/f.png"),
    "a figure deleted": lambda p: (p / "reports/figures/S/f.svg").unlink(),
    "an emptied report": lambda p: empty(p / "reports/report.html"),
    "the report's text": lambda p: (p / "reports/report.md").write_text("all is well"),
    "the numbers": lambda p: (p / "results/metrics.json").write_text("{}"),
}


@pytest.mark.slow
def test_plain_snakemake_heals_all_of_it_to_the_same_bytes(tmp_path: Path) -> None:
    project = miniature(tmp_path / "project")
    assert trained(project.run("snakemake --cores 2")) == 4
    whole = contents(project)
    for name, harm in DONE.items():
        harm(project.folder)
        told = project.run("bnbench doctor", code=1)
        assert "-> snakemake" in told, name
        told = project.run("snakemake --cores 2")
        assert trained(told) == 0
        assert contents(project) == whole, f"{name}\n{told}"
    assert "Nothing to be done" in project.run("snakemake -n")
    another_value(project.folder / "results/tables")
    project.edit("title: A figure", "title: Another")
    assert trained(project.run("snakemake --cores 2")) == 0
    belongs(project)
    assert "0.123" not in (project.folder / "reports" / "report.md").read_text()
    assert (project.folder / "results/tables/runs.parquet").read_bytes() == whole["results/tables/runs.parquet"]


def contents(project: Project) -> dict[str, bytes]:
    return project.outputs() | {"reports/report.md": (project.folder / "reports/report.md").read_bytes()}
