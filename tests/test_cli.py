"""The command line: its commands and flags are frozen here, and each exit code has one meaning."""

import argparse
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bnbench
from bnbench.cli import main, parser
from bnbench.core import errors
from bnbench.plan import cost
from bnbench.plan.plan import Plan
from bnbench.training.job import PackCrashed
from tests.support.little import ROOT
from tests.support.parameters import toy
from tests.support.shell import PROGRAM

# command -> its required arguments, its options; a change here breaks users' scripts
COMMANDS = {
    "plan": ("", "--params --tier --workers"),
    "schema": ("--out", ""),
    "download": ("dataset --out", "--params"),
    "prepare": ("dataset --out", "--params --raw --workers"),
    "augment": ("dataset augmentation --data --out", "--params"),
    "train": ("job --out --timings", "--provenance --work --device --checkpoint-seconds --log --workers"),
    "status": ("", "--params --tier"),
    "claims": ("", "--tables"),
    "explain": ("run_id", "--check --params"),
    "prune": ("", "--delete --params"),
    "doctor": ("", ""),
    "verify": ("", "--params --tier --results --write"),
    "archive": ("--out", "--params --tier"),
    "collect": ("plan --store --out", ""),
    "figures": ("plan --tables --out", "--workers"),
    "report": ("plan --tables --figures --out", ""),
    "demo": ("", "--params --tier --run --port --no-browser"),
}
CODES: dict[type[errors.UserError], int] = {
    errors.UserError: 2,
    errors.DataError: 3,
    errors.SystemFault: 4,
    errors.Interrupted: 75,
    PackCrashed: 1,
}


def commands() -> dict[str, argparse.ArgumentParser]:
    (sub,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(sub.choices)


def arguments(command: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in command._actions if action.dest != "help"]


def run(*words: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_the_commands_and_their_flags() -> None:
    seen = {}
    for name, command in commands().items():
        flags: dict[bool, list[str]] = {True: [], False: []}
        for action in arguments(command):
            flags[action.required].append(" ".join(action.option_strings) or action.dest)
        seen[name] = (" ".join(flags[True]), " ".join(flags[False]))
    assert seen == COMMANDS


@pytest.mark.parametrize("name", list(COMMANDS))
def test_each_command_and_each_argument_has_a_help_text(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = commands()[name]
    assert command.description
    assert command.description[-1] == "."
    assert all(action.help for action in arguments(command))
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert command.description in " ".join(text.split())
    assert "%(default)s" not in text


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert set(re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE)) == set(COMMANDS)


def test_the_rules_of_the_workflow_call_these_commands_with_these_flags() -> None:
    used = 0
    for rule in (ROOT / "workflow" / "rules").glob("*.smk"):
        for line in re.findall(r'"(?:exec )?bnbench (.*?)(?:2>&1|"\n\n|"\n$|\Z)', rule.read_text(), re.DOTALL):
            name = line.split()[0]
            known = set(" ".join(COMMANDS[name]).split())
            given = set(re.findall(r"--[a-z-]+", line))
            assert given <= known, rule
            assert {flag for flag in COMMANDS[name][0].split() if flag.startswith("--")} <= given, rule
            used += 1
    assert used >= 6


@pytest.mark.parametrize(("error", "code"), CODES.items(), ids=lambda value: getattr(value, "__name__", str(value)))
def test_the_exit_code_identifies_the_kind_of_error(
    error: type[errors.UserError], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error("what was seen")

    monkeypatch.setattr("bnbench.core.files.write_bytes", fail)
    assert main(["schema", "--out", "nowhere"]) == code
    assert capsys.readouterr().err == "bnbench schema: what was seen\n"


def test_every_kind_of_error_has_a_code_of_its_own() -> None:
    kinds: set[type[errors.UserError]] = {errors.UserError, *errors.UserError.__subclasses__()}
    kinds = {kind for kind in kinds if kind is errors.UserError or "code" in vars(kind)}  # others share one
    assert kinds == set(CODES)
    assert {kind: kind.code for kind in kinds} == CODES
    assert len(set(CODES.values())) == len(CODES)


@pytest.mark.parametrize(
    "words",
    [
        [], ["nonsense"], ["plan", "--workers", "0"], ["plan", "--workers", "x"], ["plan", "--tier", "huge"],
        ["schema"], ["download", "digits"], ["train", "job.json", "--out", "a"], ["plan", "more"],
    ],
)  # fmt: skip
def test_an_invalid_command_line_exits_with_2_and_the_usage(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: bnbench")


@pytest.mark.parametrize("command", ["train", "collect", "figures", "report"])
@pytest.mark.parametrize("content", [None, b"", b"tier: quick"])
def test_an_unreadable_record_is_named(
    command: str, content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "record").write_bytes(content)
    needed = [flag for flag in COMMANDS[command][0].split() if flag.startswith("--")]
    paths = [word for flag in needed for word in (flag, str(tmp_path / "out"))]
    assert main([command, str(tmp_path / "record"), *paths]) == 2
    message = capsys.readouterr().err
    assert message.startswith(
        f"bnbench {command}: {tmp_path}/record: {'no such file' if content is None else 'no JSON'}"
    )
    assert "which snakemake rewrites whenever it starts" in message
    assert not (tmp_path / "out").exists()


def test_the_plan_is_printed_before_anything_starts(tmp_path: Path) -> None:
    toy(tmp_path)
    done = run("plan", "--workers", "2", folder=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "Tier quick: toy" in done.stdout
    assert re.search(r"│ S +│ A study +│ E +│ +8 │ +2 │ +0 │ +8 │", done.stdout)
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
    assert "Tier small: larger" in run("plan", "--tier", "small", folder=tmp_path).stdout


def test_a_plan_longer_than_a_day_has_the_hours_on_a_gpu(tmp_path: Path) -> None:
    toy(tmp_path, ("base: {epochs: 4}", "base: {epochs: 400000, model: 64-2000-2000-10}"))
    text = run("plan", "--workers", "1", folder=tmp_path).stdout
    assert "GPU-hours: on one GPU of 20 TFLOP/s" in text
    row = next(line for line in text.splitlines() if "A study" in line)
    steps = 1197 // 64 * 400_000
    arithmetic = 8 * 3 * 2 * (64 * 2000 + 2000 * 2000 + 2000 * 10) * 64 * steps / 2e13
    calls = (
        len(Plan(tmp_path / "params.yaml", root=tmp_path).packs) * steps * 3 * cost.GPU_LAYER_SECONDS
    )  # three layers
    assert float(row.split("│")[-2].replace(",", "")) == pytest.approx((arithmetic + calls) / 3600, rel=0.01)


@pytest.mark.parametrize("words", ["plan", "prepare digits --out out"])
def test_a_closed_pipe_ends_quietly(tmp_path: Path, words: str) -> None:
    toy(tmp_path)
    command = f"'{PROGRAM}' {words} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout in ("0\n", "1\n")
    assert done.stderr == ""


def test_the_package_loads_neither_snakemake_nor_dvc() -> None:
    extras = {"bnbench.demo.page", "bnbench.training.kernels.triton_norms"}  # need Gradio and Triton
    modules = sorted(m.name for m in pkgutil.walk_packages(bnbench.__path__, "bnbench.") if m.name not in extras)
    code = f"import sys, {', '.join(modules)}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"snakemake", "dvc"} & set(done.stdout.split())


def test_planning_loads_neither_torch_nor_plotting_libraries() -> None:
    code = "import sys, bnbench.cli, bnbench.plan.overview; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"torch", "pandas", "matplotlib", "sklearn"} & set(done.stdout.split())
