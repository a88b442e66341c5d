"""Identities: the inputs that change the id of a run, and of tables, figures and report."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from bnbench.core.files import digest
from bnbench.params.run_schema import Run
from bnbench.plan import identity
from bnbench.plan.identity import StageIds, run_id
from bnbench.plan.plan import Plan
from tests.support.little import run
from tests.support.parameters import toy
from tests.support.plans import AXES, ids, store

# a value of each setting that differs from the default
OTHERS: dict[str, Any] = {
    "dataset": "other", "train_images": 500, "augmentation": "other",
    "preprocessing": "zscore", "model": "64-10", "norm": "none",
    "order": "post", "norm_epsilon": 0.5, "norm_keep": 0.5, "activation": "tanh", "slope": 0.5, "init": "glorot",
    "dropout": 0.5, "loss": "sum", "optimizer": "adam", "learning_rate": 0.5, "momentum": 0.5, "beta1": 0.5,
    "beta2": 0.5, "adam_epsilon": 0.5, "weight_decay": 0.5, "schedule": {"kind": "plateau", "factor": 0.5, "window": 2},
    "batch_size": 5, "epochs": 5, "steps": 5, "evaluate_every": 5, "evaluate_test": True, "keep_weights": "best",
    "diverged_above": 5.0, "seed": 5, "norm_dense": False, "norm_gamma": 2.0, "norm_beta": 0.0, "population": "batch",
    "norm_groups": 5, "norm_parts": 5, "renorm_rmax": 5.0, "renorm_dmax": 0.5, "renorm_rmax_ramp": [5, 6],
    "renorm_dmax_ramp": [5, 6], "lrn_size": 3, "lrn_alpha": 0.5, "lrn_beta": 0.5, "lrn_k": 0.5, "backend": "numpy",

    "init_deviation": 0.5, "save_weights": True, "patience": 5, "probes": ["population"], "precision": "fast",
}  # fmt: skip


def test_a_run_id_is_a_hash_of_settings_data_and_version() -> None:
    one = run()
    parts = [one.model_dump(), "data", identity.TRAINER_VERSION]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    assert run_id(one, "data") == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_hash_is_of_these_bytes_whatever_the_versions_of_libraries() -> None:
    text = '[{"a":[1e-05,1e-20,1e+22,0.1,1000.0,5,null,true],"b":"\u00e9"}]'
    value = {"b": "\u00e9", "a": [1e-5, 1e-20, 1e22, 0.1, 1e3, 5, None, True]}
    assert digest(value) == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_each_setting_is_part_of_the_run_id() -> None:
    settings = list(Run.model_fields)
    assert set(settings) <= set(OTHERS), "name another value of the new setting"
    changed = {name: run_id(run(**{name: OTHERS[name]}), "data") for name in settings}
    assert len({run_id(run(), "data"), *changed.values()}) == 1 + len(settings)


def test_the_data_and_the_trainers_version_are_part_of_the_run_id(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = {run_id(run(), "data"), run_id(run(), "other")}
    monkeypatch.setattr(identity, "TRAINER_VERSION", identity.TRAINER_VERSION + 1)
    assert len(ids | {run_id(run(), "data")}) == 3


@pytest.mark.parametrize(
    ("edit", "same"),
    [
        (("valid: 240", "valid: 241"), False),
        (("seed: 0}", "seed: 1}"), False),
        (("split: {valid: 240, test: 360", "split: {valid: 240, test: 361"), False),
        (("title: Digits", "title: Numerals"), True),
        (("licence: free", "licence: CC0"), True),
        (("    classes: 10", "    mirrors: [/mirror]\n    classes: 10"), True),
        (("title: A study", "title: Another"), True),
        (("question: Does it?", "question: Is it so?"), True),
        (("title: A figure", "title: Another"), True),
        (("work: E", "work: B"), True),
        (("about: toy", "about: little"), True),
        (("studies:\n", "# a comment\nstudies:\n"), True),
        (("    base: {epochs: 4}\n", "    base: {epochs: 4, slope: 0.01}\n"), True),
    ],
)
def test_run_ids_follow_the_data_and_no_words_or_places(tmp_path: Path, edit: tuple[str, str], same: bool) -> None:
    before, after = ids(tmp_path), ids(tmp_path, edit)
    assert (before == after) if same else not set(before) & set(after)


def test_run_ids_do_not_hang_on_the_folder_the_tier_or_other_studies(tmp_path: Path) -> None:
    first = ids(tmp_path / "a")
    assert ids(tmp_path / "b") == first
    assert ids(tmp_path / "c", ("studies:\n  S:\n", "studies:\n  Renamed:\n")) == first
    small = ("  small: {about: larger, base: {epochs: 5}}", "  small: {about: same}")
    other = Plan(toy(tmp_path, small), "small", tmp_path)
    assert list(other.runs) == first


# --- tables, figures, report


def identities(folder: Path, *edits: tuple[str, str]) -> StageIds:
    plan = Plan(toy(folder, *edits), root=folder)
    return plan.ids


@pytest.mark.parametrize(
    ("edit", "changed"),
    [
        ((AXES, "        seed: [0, 1, 2]\n"), "tables figures report"),
        (("    base: {epochs: 4}", "    base: {epochs: 3}"), "tables figures report"),
        (("valid: 240", "valid: 241"), "tables figures report"),
        (("work: E", "work: B"), "tables figures report"),
        (("  S:\n", "  T:\n"), "tables figures report"),
        (("title: A figure", "title: Another"), "figures report"),
        (("y: test_accuracy", "y: test_loss"), "figures report"),
        (("        hue: norm\n", ""), "figures report"),
        (("title: A study", "title: Another"), "report"),
        (("question: Does it?", "question: Is it so?"), "report"),
        (("about: toy", "about: little"), "report"),
        (("licence: free", "licence: CC0"), "report"),
        (("title: Digits", "title: Numerals"), "figures report"),
        (("studies:\n", "# a comment\nstudies:\n"), ""),
        (("    classes: 10", "    mirrors: [/mirror]\n    classes: 10"), ""),
        (("base: {epochs: 5}", "base: {epochs: 6}"), ""),
    ],
)
def test_only_what_shows_a_change_gets_another_identity(tmp_path: Path, edit: tuple[str, str], changed: str) -> None:
    before, after = identities(tmp_path), identities(tmp_path, edit)
    names = ("tables", "figures", "report")
    assert [name for name, a, b in zip(names, before, after, strict=True) if a != b] == changed.split()


def test_identities_do_not_hang_on_what_is_stored(tmp_path: Path) -> None:
    before = identities(tmp_path)
    store(tmp_path, ids(tmp_path)[:3])
    assert identities(tmp_path) == before
