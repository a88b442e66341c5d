"""`snakemake --config`, profiles, site files and the command line are checked as strictly as the parameter file."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bnbench.cluster.site_file import read as read_site
from bnbench.core.errors import UserError
from bnbench.workflow import Workflow
from tests.support.little import ROOT
from tests.support.parameters import toy


def console(name: str, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command by its installed script, as a user does."""
    script = Path(sys.executable).with_name(name)
    path = f"{script.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [str(script), *words], cwd=folder, env={**os.environ, "PATH": path},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def project(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "workflow", folder / "workflow")
    toy(folder)
    return folder


def refused(folder: Path, config: dict[str, object]) -> str:
    """Return the message that refuses a configuration, after checking that nothing was written."""
    path = toy(folder)
    with pytest.raises(SystemExit) as caught:
        Workflow(path, config, folder)
    assert [file.name for file in folder.iterdir()] == [path.name]
    return str(caught.value)


KEYS = {
    "teir": (
        "small",
        "teir: unknown key; known here: params, tier, device, site, target_minutes; did you mean 'tier'?",
    ),
    "parms": ("mine.yaml", "did you mean 'params'?"),
    "devise": ("cuda", "did you mean 'device'?"),
    "cores": (2, "cores: unknown key; known here: "),
}
VALUES: dict[str, tuple[object, str]] = {
    "tier": ("smal", "tier: expected 'quick', 'small' or 'full', got 'smal'; did you mean 'small'?"),
    "device": ("gpu", "device: no device 'gpu'; use cpu, cuda (all GPUs), cuda:N (one) or cuda+cpu"),
    "params": (False, "params: expected text (put it in quotes), got False"),
    "site": (3, "site: expected text"),
    "target_minutes": (float("inf"), "target_minutes: expected a finite number, got inf"),
}


@pytest.mark.parametrize(("key", "value", "told"), [(key, *rest) for key, rest in {**KEYS, **VALUES}.items()])
def test_a_slip_in_the_configuration_is_refused(tmp_path: Path, key: str, value: object, told: str) -> None:
    message = refused(tmp_path, {key: value})
    assert message.startswith("snakemake: --config, or a profile's configfile: ")
    assert told in message


@pytest.mark.parametrize("device", ["cuda:", "cuda:x", "cpu+cuda", "CPU", ""])
def test_a_device_is_checked_in_every_start_also_a_dry_one(tmp_path: Path, device: str) -> None:
    with pytest.raises(SystemExit, match="no device"):
        Workflow(toy(tmp_path), {"device": device}, tmp_path, main=False)


def test_minutes_of_a_job_need_a_cluster(tmp_path: Path) -> None:
    assert "no site file is named" in refused(tmp_path, {"target_minutes": 5})


def test_snakemake_ends_at_an_unknown_key_of_the_command_line(tmp_path: Path) -> None:
    done = console("snakemake", "-n", "--cores", "1", "--config", "teir=small", folder=project(tmp_path / "p"))
    assert done.returncode == 1
    assert "did you mean 'tier'?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", ["-.inf", ".nan", "1e999", "99999999999999999999"])
def test_no_number_of_a_site_file_is_beyond_what_is_held(tmp_path: Path, number: str) -> None:
    text = (ROOT / "workflow" / "profiles" / "site.yaml").read_text()
    path = tmp_path / "site.yaml"
    path.write_text(text.replace("\ntarget_minutes: 20", f"\ntarget_minutes: {number}"))
    line = next(i for i, each in enumerate(path.read_text().splitlines(), 1) if each.startswith("target_minutes"))
    with pytest.raises(UserError, match=rf"site\.yaml:{line}: target_minutes: "):
        read_site(path)


@pytest.mark.parametrize(
    "words",
    [
        ["plan", "--params", "x" * 300],
        ["prepare", "digits", "--out", f"{'x' * 300}/a"],
        ["train", "job.json", "--out", "a", "--timings", "b", "--checkpoint-seconds", "nan"],
        ["demo", "--no-browser", "--run", "y" * 300],
        ["demo", "--no-browser", "--run", "../../x"],
    ],
)
def test_a_value_of_the_command_line_that_cannot_be_is_refused(tmp_path: Path, words: list[str]) -> None:
    toy(tmp_path)
    done = console("bnbench", *words, folder=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"bnbench {words[0]}: error: argument --" in done.stderr


def test_braces_in_the_path_of_the_workflow_are_told_at_start(tmp_path: Path) -> None:
    folder = project(tmp_path / "a{b}c")
    done = console("snakemake", "--cores", "1", folder=folder)
    assert done.returncode == 1
    assert f"snakemake: {folder}/workflow: Snakemake cannot work in a path with braces; rename or move" in done.stderr
    assert "Traceback" not in done.stderr
    for command in ("plan", "status", "doctor"):
        assert console("bnbench", command, folder=folder).returncode == 0
