"""Incompatible settings of norms are refused before training, with the rule, the value, its line and the remedy."""

from pathlib import Path

import pytest

from bnbench.params import architecture
from bnbench.params.norm_rules import normed
from bnbench.params.resolve import resolve
from tests.support.little import run
from tests.support.parameters import line_of, refusal, toy

BASE = "base: {epochs: 4}"
GRID = "norm: [none, batch]"
CONV = "model: 8C3-P2-12C3-P2-10D"

# content of the study's base (or, after a /, its grid) -> the key at fault, and the message
REFUSED = {
    "norm: ghost, norm_parts: 3": (
        "norm_parts",
        "ghost norm cuts a batch into equal parts, but 3 do not divide a batch of 64; use one of 1, 2, 4, 8, 16, 32",
    ),
    "norm: ghost, norm_parts: 64": (
        "norm_parts",
        "ghost norm cannot estimate a variance from 1 value per channel and part; use norm_parts <= 32",
    ),
    f"{CONV}, norm: group, norm_groups: 3": (
        "norm_groups",
        "3 groups do not divide the 8 channels of a hidden layer; use one of 1, 2, 4, which divide those of all",
    ),
    "norm: group, norm_groups: 100": (
        "norm_groups",
        "group norm cannot estimate a variance from 1 value per group; use fewer groups",
    ),
    "model: 64-1-10, norm: layer": (
        "model",
        "layer norm cannot estimate a variance from 1 value per group; use a wider layer",
    ),
    "norm: batch, batch_size: 1": (
        "batch_size",
        "batch norm cannot estimate a variance from 1 value per channel; use batch_size >= 2 or norm: none",
    ),
    "norm: renorm, batch_size: 1": ("batch_size", "renorm norm cannot estimate a variance from 1 value per channel"),
    "norm: center, batch_size: 1": ("batch_size", "center norm cannot estimate a mean from 1 value per channel"),
    "norm: ghost, batch_size: 1, norm_parts: 1": ("batch_size", "ghost norm cannot estimate a variance from 1 value"),
    "model: 8C3-P2-P2-P2-8C3-10D, norm: batch, batch_size: 1": ("batch_size", "batch norm cannot estimate a variance"),
    "norm: local_response": (
        "norm",
        "local response norm runs across the channels of conv layers, and 64-100-100-10 has none; use a conv net",
    ),
    "norm: renorm, renorm_rmax_ramp: [3, 2]": (
        "renorm_rmax_ramp",
        "a ramp ends after it begins, got from epoch 3 until",
    ),
    "norm: renorm, renorm_dmax_ramp: [1, 6]": ("renorm_dmax_ramp", "a ramp until epoch 6, but the run has 4 epochs"),
    f"{CONV}, backend: numpy": (
        "backend",
        "the NumPy backend trains dense nets alone, and 8C3-P2-12C3-P2-10D has conv layers; use backend: torch",
    ),
    "norm_epsilon: 0": ("norm_epsilon", "expected a number above 0, got 0"),
    "norm_epsilon: -1e-5": ("norm_epsilon", "expected a number above 0, got -1e-05"),
    "norm_gamma: fixed": ("norm_gamma", "expected 'learned' or a number, got 'fixed'"),
    "norm_gamma: 0": ("norm_gamma", "a number above 0"),
    "norm: bach": ("norm", "did you mean 'batch'?"),
    "population: last": ("population", "expected 'moving', 'last_epoch' or 'batch', got 'last'"),
    "population: last_epoch, epochs: 0": ("epochs", "expected a number of at least 1, got 0"),
    "population: last_epoch, batch_size: 1198": ("batch_size", "larger than the training set of 1197 images"),
    "renorm_rmax: 0.5": ("renorm_rmax", "expected a number of at least 1, got 0.5"),
    "renorm_dmax_ramp: [1]": ("renorm_dmax_ramp", "expected a list of at least 2 value"),
    "renorm_dmax_ramp: [1, 2, 3]": ("renorm_dmax_ramp", "expected a list of at most 2 values"),
}
ONE = ("norm: [none, batch]\n        ", "")


@pytest.mark.parametrize("settings", REFUSED)
def test_settings_at_odds_are_refused_with_their_place(tmp_path: Path, settings: str) -> None:
    own = settings if "epochs" in settings else f"epochs: 4, {settings}"
    path = toy(tmp_path, (BASE, f"base: {{{own}}}"), ONE)
    key, message = REFUSED[settings]
    seen = refusal(path)
    assert f"params.yaml:{line_of(path, 'base: {' + own)}: studies.S.base.{key}" in seen
    assert message in seen


def test_one_norm_of_a_grid_is_enough_to_refuse_a_setting_where_it_stands(tmp_path: Path) -> None:
    path = toy(tmp_path, (BASE, "base: {epochs: 4, batch_size: 9}"), (GRID, "norm: [none, group, ghost]"))
    place = f"params.yaml:{line_of(path, 'norm_parts: 2')}: training.norm_parts: "
    assert f"{place}ghost norm cuts a batch into equal parts, but 2 do not divide a batch of 9" in refusal(path)


def test_settings_that_the_norm_does_not_use_are_not_held_against_a_run(tmp_path: Path) -> None:
    unused = "norm_parts: 7, norm_groups: 7, renorm_rmax_ramp: [50, 90]"
    path = toy(tmp_path, (BASE, f"base: {{epochs: 4, {unused}}}"), (GRID, "norm: [none, batch, center, layer]"))
    assert len(resolve(path).studies[0].runs) == 16


def test_a_batch_of_one_is_enough_where_no_dense_layer_has_a_norm(tmp_path: Path) -> None:
    conv = "epochs: 4, model: 8C3-P2-16D-10D, batch_size: 1"
    assert "batch_size" in refusal(toy(tmp_path, (BASE, f"base: {{{conv}}}")))
    assert resolve(toy(tmp_path, (BASE, f"base: {{{conv}, norm_dense: false}}")))


def test_each_layer_with_the_norm_is_told_with_its_values() -> None:
    model = "4K-2C1B-6C5-LRN-P2-16D-Dropout0.5-10D"

    def layers(**settings: object) -> list[tuple[int, int]]:
        return list(normed(run(model=model, **settings), architecture.parse(model), (1, 8, 8)))

    assert layers() == [(4, 64), (4, 64), (6, 16), (16, 1)]
    assert layers(norm_dense=False) == [(4, 64), (4, 64), (6, 16)]
    assert layers(norm="none", norm_dense=True) == []
