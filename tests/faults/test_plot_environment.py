"""Figures and report have the same bytes whatever the user's environment, settings and folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.drawn import HEATMAP, figures, filled, report
from tests.support.store import FIGURES

SETTINGS = "font.size: 30\nsavefig.dpi: 20\nsavefig.format: svg\naxes.facecolor: red\nlines.markersize: 20\n"
INLINE = "module://matplotlib_inline.backend_inline"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled(tmp_path_factory.mktemp("filled"), map=HEATMAP, batch_size=FIGURES["E1"]["batch_size"])


@pytest.fixture(scope="module")
def usual(folder: Path) -> dict[str, bytes]:
    return figures(folder, folder / "usual")


def notebook(_here: Path) -> dict[str, str]:
    return {"MPLBACKEND": INLINE}


def named_settings(here: Path) -> dict[str, str]:
    (here / "mine").write_text(SETTINGS)
    return {"MATPLOTLIBRC": str(here / "mine")}


def settings_of_the_folder(here: Path) -> dict[str, str]:
    (here / "matplotlibrc").write_text(SETTINGS + f"backend: {INLINE}\n")
    return {}


def unreadable_settings_of_the_folder(here: Path) -> dict[str, str]:
    (here / "matplotlibrc").write_bytes(b"font.family: \xff\xfe\n")
    return {}


def settings_of_the_home(here: Path) -> dict[str, str]:
    place = here / "home" / ".config" / "matplotlib"
    (place / "stylelib").mkdir(parents=True)
    (place / "matplotlibrc").write_text(SETTINGS)
    (place / "stylelib" / "default.mplstyle").write_text(SETTINGS)
    return {"HOME": str(here / "home"), "XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": ""}


def no_folder_of_settings(here: Path) -> dict[str, str]:
    (here / "file").write_text("")
    return {"MPLCONFIGDIR": str(here / "file")}


def place_and_time(_here: Path) -> dict[str, str]:
    where = {"LANG": "tr_TR.UTF-8", "LC_ALL": "C", "TZ": "Asia/Tokyo"}
    return where | {"PYTHONHASHSEED": "7", "SOURCE_DATE_EPOCH": "1"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [
        notebook, named_settings, settings_of_the_folder, unreadable_settings_of_the_folder, settings_of_the_home,
        no_folder_of_settings, place_and_time,
    ],
)  # fmt: skip
def test_figures_are_the_same_bytes(
    folder: Path, usual: dict[str, bytes], tmp_path: Path, given: Callable[[Path], dict[str, str]]
) -> None:
    variables = given(tmp_path)
    assert figures(folder, tmp_path / "out", cwd=tmp_path, variables=variables) == usual
    assert {name.rpartition(".")[2] for name in usual} == {"svg", "png", "csv", "md"}


@pytest.mark.slow
def test_so_are_those_of_workers(tmp_path: Path) -> None:
    many = {f"map{index}": HEATMAP for index in range(6)}
    folder = filled(tmp_path / "filled", **many)
    usual = figures(folder, tmp_path / "usual")
    (tmp_path / "matplotlibrc").write_bytes(SETTINGS.encode() + b"font.family: \xff\n")
    assert figures(folder, tmp_path / "out", cwd=tmp_path, workers=2, variables={"MPLBACKEND": INLINE}) == usual


@pytest.mark.slow
def test_a_report_is_written_by_the_pandoc_that_comes_along_with_its_own_data(folder: Path, tmp_path: Path) -> None:
    figures(folder, tmp_path)
    usual = report(folder, tmp_path)
    program, data = tmp_path / "bin" / "pandoc", tmp_path / "data" / "pandoc"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho pandoc 99.1\n")
    program.chmod(0o755)
    data.mkdir(parents=True)
    (data / "init.lua").write_text("error('the user has set this up')\n")
    (data / "abbreviations").write_text("tier\n")
    for variables in ({"PATH": f"{program.parent}:/usr/bin:/bin"}, {"PYPANDOC_PANDOC": str(program)}):
        assert report(folder, tmp_path, variables=variables | {"XDG_DATA_HOME": str(data.parent)}) == usual
    assert sorted(usual) == ["report.html", "report.md", "report.pdf"]
