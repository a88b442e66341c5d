"""The grid grammar: from a study's base and grid to the settings of its runs. Plain mappings in, plain out."""

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Any

Settings = dict[str, Any]
Grid = dict[str, Any]  # product, zip, around, exclude, include


def cells(grid: dict[str, Any], base: Settings) -> list[Settings]:
    """All settings of a grid, each merged into `base`, in the order written.

    (zip or around) x product, without those that match an item of exclude, with the products of include.
    """
    made = [first | rest for first in _varied(grid, base) for rest in _product(grid.get("product") or {})]
    dropped = grid.get("exclude") or []
    full = [base | cell for cell in made]
    full = [cell for cell in full if not any(_matches(cell, item) for item in dropped)]
    full += [base | cell for item in grid.get("include") or [] for cell in _product(item)]
    return full


def axes(grid: dict[str, Any]) -> list[str]:
    """The settings that a grid varies, in the order written."""
    parts = [grid.get("zip"), grid.get("around"), grid.get("product"), *(grid.get("include") or [])]
    names = [name for part in parts for name in part or {}]
    return list(dict.fromkeys(names))


def size(grid: dict[str, Any]) -> int:
    """At most how many cells a grid has, without unfolding it."""
    around = grid.get("around") or {}
    ones = 1 + sum(map(len, around.values()))
    rows = max(map(len, (grid.get("zip") or {}).values()), default=1)
    further = sum(prod(map(len, item.values())) for item in grid.get("include") or [])
    return rows * ones * prod(map(len, (grid.get("product") or {}).values())) + further


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` on `base`: mappings are merged key by key, anything else replaces what was there."""
    both = {key: merge(base[key], over[key]) for key in base.keys() & over.keys() if _mappings(base[key], over[key])}
    return base | over | both


def _mappings(a: object, b: object) -> bool:
    # a schedule is one value: its keys belong together
    return isinstance(a, dict) and isinstance(b, dict) and "kind" not in b


def _matches(cell: Settings, item: Settings) -> bool:
    return all(cell.get(name) == value for name, value in item.items())


def _product(part: dict[str, list[Any]]) -> Iterator[Settings]:
    for values in product(*part.values()):
        yield dict(zip(part, values, strict=True))


def _varied(grid: dict[str, Any], base: Settings) -> list[Settings]:
    """The zipped rows crossed with one-at-a-time deviations (the base itself first)."""
    zipped = grid.get("zip") or {}
    rows = [dict(zip(zipped, row, strict=True)) for row in zip(*zipped.values(), strict=True)] if zipped else [{}]
    around = grid.get("around") or {}
    ones = [{name: value} for name, values in around.items() for value in values if value != base.get(name)]
    return [row | one for row in rows for one in ([{}, *ones] if around else [{}])]
