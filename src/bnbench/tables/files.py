"""Table files: parquet, which preserves types, and CSV; equal content gives equal bytes.

In CSV a missing value is an empty field and text is quoted. pandas' defaults would read texts like "null" or "NA" as
missing values and "100" as a number; `read_csv` here reads back exactly the written values.
"""

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from bnbench.core import identities
from bnbench.core.atomic import atomic, write_bytes
from bnbench.params.run_schema import Run

Rows = tuple[str, str, object]

RENAMED = {
    "epochs": "max_epochs",
    "steps": "max_steps",
}  # in results `epochs` and `steps` count the training that was done
CONFIG = tuple(RENAMED.get(name, name) for name in Run.model_fields)
CELL = tuple(name for name in CONFIG if name != "seed")
# official: the published test set, if the test images come from elsewhere
RESULTS = tuple(f"{part}_{what}" for part in ("train", "valid", "test", "official") for what in ("loss", "accuracy"))


def _arrow_type(field: dict[str, Any]) -> pa.DataType:
    kinds = {option.get("type") for option in field.get("anyOf", [field])} - {"null"}
    names = {"number": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_()}
    return names.get(kinds.pop(), pa.string()) if len(kinds) == 1 else pa.string()


CONFIG_TYPES: dict[str, pa.DataType] = {
    RENAMED.get(name, name): _arrow_type(field) for name, field in Run.model_json_schema()["properties"].items()
} | {"network": pa.string()}


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return a run's configuration, or a part of it, as columns of a table; all but numbers become compact text."""
    row = {RENAMED.get(name, name): value for name, value in config.items()}
    if "probes" in row:
        row["probes"] = " ".join(row["probes"]) or "none"
    texts = {name for name in row if CONFIG_TYPES[name] == pa.string()}
    return row | {name: _text(row[name]) for name in texts}


def _text(value: Any) -> str | None:
    """Return a value of a text column: 2.0 as `2`, [1.0, 4.0] as `1 to 4`, a schedule by `schedule_text`."""
    if isinstance(value, dict):
        return schedule_text(value)
    if isinstance(value, list):
        return " to ".join(map(str, map(_text, value)))
    return f"{value:.15g}" if isinstance(value, int | float) else value


def schedule_text(schedule: dict[str, Any]) -> str:
    """Return a learning-rate schedule as text, for example `plateau(factor=0.9995, window=3)`."""
    options = ", ".join(f"{key}={schedule[key]}" for key in sorted(schedule) if key != "kind")
    return f"{schedule['kind']}({options})" if options else str(schedule["kind"])


def arrow(frame: pd.DataFrame, types: dict[str, pa.DataType]) -> pa.Table:
    """Return the columns `types` of `frame` as a typed table; a missing number is null."""
    table = pa.Table.from_pandas(frame[list(types)], schema=pa.schema(list(types.items())), preserve_index=False)
    return table.replace_schema_metadata(None)


def write(frame: pd.DataFrame, folder: Path, name: str, types: dict[str, pa.DataType]) -> None:
    """Write the columns `types` of `frame` as parquet and CSV named `name` in `folder`, both atomically."""
    write_table(arrow(frame, types), folder, name)


def write_table(table: pa.Table, folder: Path, name: str) -> None:
    """Write `table` as parquet and CSV named `name` in `folder`, both atomically."""
    with atomic(folder / f"{name}.parquet") as path:
        pq.write_table(table, path)
    write_csv(table, folder / f"{name}.csv")


def write_csv(table: pa.Table, path: Path) -> None:
    """Write `table` as CSV, atomically."""
    write_bytes(path, csv_bytes(table))


def csv_bytes(table: pa.Table) -> bytes:
    """Return `table` as CSV. Numbers are written with as many digits as it takes to read the same number back."""
    out = io.BytesIO()
    pacsv.write_csv(_no_formulas(table), out)
    return out.getvalue()


def _no_formulas(table: pa.Table) -> pa.Table:
    """Return the table with ' before any text that a spreadsheet would run as a formula, such as `=cmd()`."""
    for index, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            column = table.column(index)
            formula = pc.match_substring_regex(column, r"^[=+\-@\t\r]")
            table = table.set_column(
                index, field.name, pc.if_else(formula, pc.binary_join_element_wise("'", column, ""), column)
            )
    return table


def read(folder: Path, name: str, tables_id: str = "*", rows: Rows | None = None) -> pd.DataFrame:
    """Return a table with its types after verifying its checksum.

    Args:
        folder: the folder of the tables.
        name: the name of the table.
        tables_id: the identity that the tables must have.
        rows: a filter of pyarrow: a column, an operator and a value.

    Raises:
        UserError: there are no tables of that identity, or this one was altered.
    """
    stage = "environment" if name in identities.MACHINE else "tables"
    identity = identities.only(folder, identities.STAGES[stage].pattern.replace("*", tables_id))
    content = io.BytesIO(identity.content(folder / f"{name}.parquet"))
    return pd.read_parquet(content, filters=[rows] if rows else None)


def read_csv(path: Path) -> pd.DataFrame:
    """Return the table in a CSV file; only empty fields are missing values, not texts such as "none" or "null"."""
    return pd.read_csv(
        path,
        keep_default_na=False,
        na_values=[""],
        dtype={name: str for name, kind in CONFIG_TYPES.items() if kind == pa.string()},
    )
