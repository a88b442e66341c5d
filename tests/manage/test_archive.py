"""The archive holds what was made and what made it, byte for byte, and says so as an RO-Crate."""

import zipfile
from pathlib import Path

import pytest
from rocrate.rocrate import ROCrate

from bnbench.cli import main
from bnbench.plan.plan import Plan
from tests.support.shell import contents


def test_every_file_is_described_and_is_the_file_here(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "crate"
    assert main(["archive", "--out", str(out)]) == 0
    crate = ROCrate(out)
    described = {entity.id for entity in crate.get_entities() if "File" in entity.type}
    packed = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} - {"ro-crate-metadata.json"}
    assert described == packed
    for name in ("params.yaml", "results/tables/runs.csv", "results/metrics.json", "reports/report.html"):
        assert (out / name).read_bytes() == (project / name).read_bytes()
    assert contents(out / "reports" / "figures") == contents(project / "reports" / "figures") != {}
    assert "torch==" in (out / "environment.txt").read_text()
    assert crate.root_dataset["name"].endswith("tier quick")
    assert crate.root_dataset["isBasedOn"][0]["license"] == "free"


@pytest.mark.usefixtures("project")
def test_a_zip_holds_the_same(tmp_path: Path) -> None:
    assert main(["archive", "--out", str(tmp_path / "crate")]) == 0
    assert main(["archive", "--out", str(tmp_path / "crate.zip")]) == 0
    folder = {str(path.relative_to(tmp_path / "crate")) for path in (tmp_path / "crate").rglob("*") if path.is_file()}
    with zipfile.ZipFile(tmp_path / "crate.zip") as packed:
        assert {name for name in packed.namelist() if not name.endswith("/")} == folder


def test_parameters_that_extend_a_file_are_archived_as_one_file(project: Path, tmp_path: Path) -> None:
    here, out = project / "params.yaml", tmp_path / "crate"
    before = Plan(here)
    shared, _, studies = here.read_text().partition("\nstudies:\n")
    (tmp_path / "base.yaml").write_text(f"{shared}\nstudies: {{}}\n")
    here.write_text(f"extends: {tmp_path}/base.yaml\ntier: quick\nstudies:\n{studies}")
    assert main(["archive", "--out", str(out)]) == 0
    (tmp_path / "base.yaml").unlink()
    assert "extends" not in (out / "params.yaml").read_text()
    after = Plan(out / "params.yaml")
    assert (list(after.runs), after.ids.report) == (list(before.runs), before.ids.report)


def test_results_of_other_parameters_are_not_archived(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("seed: [0, 1]", "seed: [0]"))
    assert main(["archive", "--out", str(tmp_path / "crate")]) == 2
    told = capsys.readouterr().err
    assert "not those of the parameters now: results/tables/identity-" in told
    assert "run snakemake --config tier=quick" in told
    assert not (tmp_path / "crate").exists()


def test_nothing_is_written_over(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["archive", "--out", str(project)]) == 2
    assert "exists; name another place" in capsys.readouterr().err
