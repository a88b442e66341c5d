"""The drawing page: choice of runs, their predictions, and drawing in a real browser."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from bnbench.cli import main
from bnbench.core.errors import DataError, UserError
from bnbench.core.files import read_json
from bnbench.data.prepare import prepare
from bnbench.data.prepared import Prepared
from bnbench.demo.views import choose, data_of, views
from bnbench.plan.plan import Plan
from bnbench.training import run_writer
from bnbench.training.train import start, train
from tests.support import browser, little
from tests.support.strokes import DIGITS

SHAPES = [(1, 8, 8)]
STUDY = """
studies:
  D:
    title: Networks for the page
    question: What does each predict for a drawn digit?
    work: D
    base: {base}
    grid:
      product: {{norm: {norms}, seed: [0]}}
    figures: {{}}
"""
TINY = "{model: 64-16-10, epochs: 2, save_weights: true}"


def params(folder: Path, base: str = TINY, norms: str = "[none, batch, group]") -> Path:
    """Write the project's parameter file with this study alone and return its path."""
    text = (little.ROOT / "params.yaml").read_text()
    path = folder / "params.yaml"
    path.write_text(text[: text.index("\nstudies:")] + STUDY.format(base=base, norms=norms))
    return path


def trained(plan: Plan) -> Plan:
    """Train the plan's runs on the digits, and prepare the data."""
    folder = plan.root / "data" / "prepared" / f"digits-{plan.keys['digits']}"
    prepare("digits", plan.resolved.datasets["digits"], None, folder)
    data = Prepared.read(folder)
    for name, run in plan.runs.items():
        train(
            start([name], [run], data),
            lambda _pack: None,
            lambda outcome: run_writer.write(plan.store, outcome, data.fingerprint),
        )
    return Plan(plan.params, root=plan.root)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("project")
    return trained(Plan(params(folder), root=folder))


def of(plan: Plan, norm: str) -> str:
    return next(name for name, run in plan.runs.items() if run.norm == norm)


def test_a_pair_that_differs_in_the_norm_alone_is_shown(plan: Plan) -> None:
    assert choose(plan, SHAPES) == [of(plan, "none"), of(plan, "batch")]


def test_without_a_pair_the_best_run_is_shown(tmp_path: Path) -> None:
    norms = ["layer", "group"]
    alone = trained(Plan(params(tmp_path, norms=f"[{', '.join(norms)}]"), root=tmp_path))
    accuracy = {name: read_json(alone.store / name / "run.json")["test_accuracy"] for name in alone.runs}
    assert choose(alone, SHAPES) == [max(accuracy, key=lambda name: accuracy[name])]


def test_without_weights_the_error_names_the_command_that_trains_some(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"`snakemake --config tier=quick params=.*` trains those of D"):
        choose(Plan(params(tmp_path), root=tmp_path), SHAPES)
    plain = Plan(params(tmp_path, TINY.replace("true", "false")), root=tmp_path)
    with pytest.raises(UserError, match=r"write `save_weights: true` into studies\.D\.base"):
        choose(plain, SHAPES)


def test_runs_that_cannot_be_shown_are_refused(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run 'nothing'"):
        data_of(plan, ["nothing"])
    for name in plan.runs:
        shutil.copytree(plan.store / name, tmp_path / "results" / "runs" / name)
    moved = Plan(plan.params, root=tmp_path)
    with pytest.raises(DataError, match=r"`snakemake data --config tier=quick .*` prepares them and trains nothing"):
        data_of(moved, list(plan.runs))


def test_a_norm_with_batch_statistics_is_shown_with_both_statistics(plan: Plan) -> None:
    names = [of(plan, norm) for norm in ("none", "batch", "group")]
    data = data_of(plan, names)
    none, moving, own, group = views(plan.store, names, data)
    titles = ["No norm", "Batch norm, moving averages", "Batch norm, statistics of this one image", "Group norm"]
    assert [view.title for view in (none, moving, own, group)] == titles
    found = np.array([own.probabilities(image) for image in data.test.images[:30]])
    assert np.ptp(found, axis=0).max() < 1e-6
    assert own.single_image_accuracy(data.test.images, data.test.labels).startswith(
        f"Always predicts {found[0].argmax()}:"
    )
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    for view in (none, moving, group):  # one at a time as in complete batches
        answers = [view.probabilities(image).argmax() for image in data.test.images]
        recorded = read_json(plan.store / view.run_id / "run.json")["test_accuracy"]
        assert np.mean(answers == data.test.labels) == pytest.approx(recorded, abs=1.5 / 360)  # tolerance: one image


def test_without_gradio_the_error_names_the_package_to_install(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bnbench.demo.serve.find_spec", lambda _name: None)
    assert main(["demo", "--params", str(plan.params)]) == 2
    assert 'pip install "bnbench[demo]"' in capsys.readouterr().err


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project whose small tier was trained by the command named in the error message."""
    folder = tmp_path_factory.mktemp("mnist")
    shutil.copytree(little.ROOT / "workflow", folder / "workflow")
    params(folder, "{model: 784-100-10, train_images: 10000, epochs: 3, save_weights: true}", "[none, batch]")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "trained", "--config", "tier=small"]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False, timeout=400
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Run `bnbench demo` as a process; yield the page's address."""
    command = [sys.executable, "-m", "bnbench.cli", "demo", "--tier", "small", "--no-browser"]
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[0]
        finally:
            process.terminate()
    assert not list(folder.glob("bnbench-demo-*"))


@pytest.mark.slow
@pytest.mark.skipif("BNBENCH_MIRROR" not in os.environ, reason="needs the files of MNIST")
@pytest.mark.skipif(not all(map(shutil.which, browser.TOOLS)), reason="needs chromium and chromedriver")
@pytest.mark.skipif(not (find_spec("gradio") and find_spec("selenium")), reason="needs the extras demo and demo-test")
def test_at_least_nine_of_ten_digits_drawn_in_a_browser_are_recognised(mnist: Path) -> None:
    with served(mnist) as url, browser.opened(url) as page:
        predicted = []
        for strokes in DIGITS:
            browser.draw(page, strokes)
            count = len(strokes)
            predicted.append(browser.answer(page, f"Your drawing of {count} stroke{'s' * (count > 1)},"))
        none, moving, own = zip(*(answers.values() for answers in predicted), strict=True)
        truth = list(map(str, range(10)))
        assert sum(map(str.__eq__, none, truth)) >= 9, none
        assert sum(map(str.__eq__, moving, truth)) >= 9, moving
        assert len(set(own)) == 1
        page.find_elements("css selector", "#shelf .thumbnail-item")[3].click()
        assert list(browser.answer(page, "Test image 3, a 0").values())[2] == own[0]
        page.find_element("id", "other").click()
        page.find_elements("css selector", "#shelf .thumbnail-item")[3].click()
        browser.answer(page, "Test image 19,")
        assert url.startswith("http://127.0.0.1:")
        asked = browser.fetched(page)
        assert len(asked) > 5
        assert all(address.startswith(url) for address in asked)
