"""Expansion of a study's grid into the settings of its runs. Plain mappings in, plain mappings out."""

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Any

Settings = dict[str, Any]
Grid = dict[str, Any]  # product, zip, around, exclude, include


def cells(grid: Grid, base: Settings) -> list[Settings]:
    """Return the settings of each run of a grid, merged into `base`, in the order of the file.

    The runs are (zip or around) x product, minus those that match an item of `exclude`, plus the products of `include`.
    """
    expanded = [first | rest for first in _varied(grid, base) for rest in _product(grid.get("product") or {})]
    excluded = grid.get("exclude") or []
    full = [base | cell for cell in expanded]
    full = [cell for cell in full if not any(_matches(cell, item) for item in excluded)]
    full += [base | cell for item in grid.get("include") or [] for cell in _product(item)]
    return full


def axes(grid: Grid) -> list[str]:
    """Return the settings that a grid varies, in the order of the grammar: zip, around, product, include."""
    parts = [grid.get("zip"), grid.get("around"), grid.get("product"), *(grid.get("include") or [])]
    names = [name for part in parts for name in part or {}]
    return list(dict.fromkeys(names))


def size(grid: Grid) -> int:
    """Return an upper bound of the number of runs of a grid, without expanding it."""
    around = grid.get("around") or {}
    changes = 1 + sum(map(len, around.values()))
    rows = max(map(len, (grid.get("zip") or {}).values()), default=1)
    further = sum(prod(map(len, item.values())) for item in grid.get("include") or [])
    return rows * changes * prod(map(len, (grid.get("product") or {}).values())) + further


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge `over` into `base`: mappings key by key, where any other value of `over` replaces that of `base`."""
    both = {key: merge(base[key], over[key]) for key in base.keys() & over.keys() if _mappings(base[key], over[key])}
    return base | over | both


def _mappings(a: object, b: object) -> bool:
    """Return whether two values are merged. A schedule is replaced as one value: its keys depend on its kind."""
    return isinstance(a, dict) and isinstance(b, dict) and "kind" not in b


def _matches(cell: Settings, item: Settings) -> bool:
    """Return whether a run has all values of an item of `exclude`."""
    return all(cell.get(name) == value for name, value in item.items())


def _product(part: dict[str, list[Any]]) -> Iterator[Settings]:
    """Yield every combination of the listed values; the last setting varies fastest."""
    for values in product(*part.values()):
        yield dict(zip(part, values, strict=True))


def _varied(grid: Grid, base: Settings) -> list[Settings]:
    """Return each row of `zip` combined with the base and with each single change of `around`."""
    zipped = grid.get("zip") or {}
    rows = [dict(zip(zipped, row, strict=True)) for row in zip(*zipped.values(), strict=True)] if zipped else [{}]
    around = grid.get("around") or {}
    changes = [{name: value} for name, values in around.items() for value in values if value != base.get(name)]
    return [row | change for row in rows for change in ([{}, *changes] if around else [{}])]
