"""Entries of norms and activations: invalid ones are refused at import, by name."""

from typing import Any

import pytest

from bnbench.params.layers.specs import LayerSpec, NormSpec, by_name, users

LAYER = "bnbench.training.nets.batch_norms:BatchNorm"


def norm(**more: Any) -> NormSpec:
    return NormSpec(**{"name": "mine", "label": "mine", "colour": "k", "marker": "o", "layer": LAYER, **more})


def test_a_second_norm_of_a_name_is_refused() -> None:
    one = norm(scope="sample")
    assert by_name(one, norm(name="other", scope="sample")).keys() == {"mine", "other"}
    with pytest.raises(ValueError, match="mine is defined twice"):
        by_name(one, norm(scope="mini-batch"))


@pytest.mark.parametrize("scope", [None, "none", "batch", ""])
def test_a_norm_without_a_scope_of_its_statistics_is_refused(scope: Any) -> None:
    with pytest.raises(ValueError, match=r"norm mine: scope is .*'mini-batch', 'part of a mini-batch', 'sample'"):
        norm(scope=scope)


def test_a_scope_without_a_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="norm mine: scope is 'sample'"):
        norm(layer=None, scope="sample")


@pytest.mark.parametrize("field", ["layer", "reference"])
@pytest.mark.parametrize("dotted", ["bnbench.training.nets.batch_norms", "", ":", "a:b:c", "a b:c"])
def test_a_malformed_name_of_an_object_is_refused(field: str, dotted: str) -> None:
    with pytest.raises(ValueError, match=r"mine: .* write it as 'module:object'"):
        norm(**{"scope": "sample", field: dotted})


@pytest.mark.parametrize("name", ["", "Batch", "batch norm", "1st", "batch-norm"])
def test_a_name_that_is_no_identifier_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a valid name of a norm"):
        LayerSpec(name=name, label="mine", layer=None)


def test_the_users_of_a_setting_are_the_entries_that_take_it() -> None:
    one, two = (
        norm(name="one", scope="sample", settings={"a": "x", "b": "y"}),
        norm(scope="sample", settings={"c": "x"}),
    )
    assert users(by_name(one, two)) == {"x": {"one", "mine"}, "y": {"one"}}


def test_samples_per_statistic_follow_from_the_scope() -> None:
    samples = {scope: norm(scope=scope).samples(12, 4) for scope in ("mini-batch", "part of a mini-batch", "sample")}
    assert list(samples.values()) == [12, 3, 1]
    assert norm(layer=None, scope=None).samples(12, 4) is None
