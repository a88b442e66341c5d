"""Expansion of grids, compared with expected runs written out or computed by plain loops."""

from typing import Any

from bnbench.params.grid import axes, cells, merge, size

BASE: dict[str, Any] = {"a": 0, "b": 0, "c": 0, "schedule": {"kind": "constant"}}


def changes(grid: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the changes of `BASE` in each run of a grid."""
    return [{name: value for name, value in cell.items() if value != BASE[name]} for cell in cells(grid, BASE)]


def test_product_gives_every_combination_and_the_last_setting_varies_fastest() -> None:
    expected = [BASE | {"a": a, "b": b, "c": c} for a in (1, 2) for b in (3, 4, 5) for c in (6, 7)]
    assert cells({"product": {"a": [1, 2], "b": [3, 4, 5], "c": [6, 7]}}, BASE) == expected


def test_zip_joins_first_with_first() -> None:
    assert changes({"zip": {"a": [1, 2, 3], "b": [4, 5, 6]}}) == [{"a": 1, "b": 4}, {"a": 2, "b": 5}, {"a": 3, "b": 6}]


def test_around_is_the_base_then_each_change_alone() -> None:
    assert changes({"around": {"a": [0, 1, 2], "b": [3]}}) == [{}, {"a": 1}, {"a": 2}, {"b": 3}]


def test_zip_around_and_product_are_crossed() -> None:
    grid = {"zip": {"a": [1, 2], "b": [3, 4]}, "around": {"c": [5]}, "product": {"seed": [0, 1]}}
    expected = [
        {**BASE, "a": a, "b": b, "c": c, "seed": seed} for a, b in ((1, 3), (2, 4)) for c in (0, 5) for seed in (0, 1)
    ]
    assert cells(grid, BASE) == expected


def test_exclude_drops_the_runs_that_have_all_values_of_an_item() -> None:
    grid = {"product": {"a": [1, 2], "b": [3, 4]}, "exclude": [{"a": 1, "b": 3}, {"a": 2, "c": 9}]}
    assert changes(grid) == [{"a": 1, "b": 4}, {"a": 2, "b": 3}, {"a": 2, "b": 4}]


def test_exclude_matches_values_of_the_base_too() -> None:
    assert cells({"product": {"a": [1, 2]}, "exclude": [{"c": 0}]}, BASE) == []


def test_include_adds_products_that_exclude_does_not_touch() -> None:
    grid = {"product": {"a": [1, 2]}, "exclude": [{"a": 1}], "include": [{"a": [1], "b": [3, 4]}, {"c": [5]}]}
    assert changes(grid) == [{"a": 2}, {"a": 1, "b": 3}, {"a": 1, "b": 4}, {"c": 5}]


def test_the_varied_settings_are_listed_once_in_the_order_of_the_grammar() -> None:
    grid = {"product": {"c": [1]}, "around": {"b": [1]}, "zip": {"a": [1]}, "include": [{"c": [2], "d": [1]}]}
    assert axes(grid) == ["a", "b", "c", "d"]
    assert axes({"product": None}) == []


def test_size_counts_the_runs_without_expanding_the_grid() -> None:
    grid = {
        "zip": {"a": [1, 2], "b": [3, 4]},
        "around": {"c": [5, 6]},
        "product": {"d": [1, 2], "e": [1, 2, 3]},
        "include": [{"a": [1, 2], "b": [1, 2]}, {"a": [9]}],
    }
    assert size(grid) == len(cells(grid, BASE)) == 2 * 3 * 6 + 5
    assert size({"product": {name: list(range(10)) for name in "abcdefghij"}}) == 10**10


def test_an_axis_of_the_tier_replaces_the_studys_of_that_name() -> None:
    study = {"product": {"a": [1, 2], "b": [3]}, "exclude": [{"a": 1}]}
    tier = {"product": {"a": [9], "c": [4]}, "zip": {"d": [1]}}
    expected = {"product": {"a": [9], "b": [3], "c": [4]}, "exclude": [{"a": 1}], "zip": {"d": [1]}}
    assert merge(study, tier) == expected


def test_merging_changes_neither_argument() -> None:
    study, tier = {"product": {"a": [1]}}, {"product": {"a": [2]}}
    merge(study, tier)
    assert (study, tier) == ({"product": {"a": [1]}}, {"product": {"a": [2]}})


def test_a_schedule_is_replaced_as_one_value() -> None:
    step, plateau = {"kind": "step", "factor": [0.1]}, {"kind": "plateau", "window": 3}
    assert merge({"schedule": step}, {"schedule": plateau}) == {"schedule": plateau}
