"""Columns of probe measurements: one row per number, written by training and read by the tables."""

import pyarrow as pa

PROBED: dict[str, pa.DataType] = {
    "probe": pa.string(),
    "step": pa.int64(),
    "epoch": pa.float64(),
    "part": pa.string(),
    "layer": pa.int64(),
    "quantity": pa.string(),
    "item": pa.int64(),
    "at": pa.float64(),
    "value": pa.float64(),
}
