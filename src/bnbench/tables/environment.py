"""Tables of what differs between machines: the environment of each run, and the wall time of its pack.

No other table depends on them. They are made from the records of packs, which lie beside the run store.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa

from bnbench.store import records

UNKNOWN = "no record of the environment"
LIBRARIES = ("python", "bnbench", "torch", "numpy", "safetensors", "scikit-learn", "pyarrow")
ENVIRONMENT_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(("run_id", "processor", "device", "gpu"), pa.string()),
    "threads": pa.int64(),
    **dict.fromkeys(("engine", "instructions"), pa.string()),
    "arithmetic": pa.int64(),
    "products": pa.string(),
    "comparable": pa.bool_(),
    "reason": pa.string(),
    **{name.replace("-", "_"): pa.string() for name in LIBRARIES},
}
TIMINGS_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(("run_id", "pack"), pa.string()),
    "pack_runs": pa.int64(),
    **dict.fromkeys(("pack_seconds", "estimated_seconds"), pa.float64()),
    **dict.fromkeys(("processor", "device"), pa.string()),
}


def environment_table(run_ids: list[str], provenance: Path) -> pa.Table:
    """Return a row per run, sorted by run id; several for a run that was trained in several environments, in parts.

    Args:
        run_ids: the runs.
        provenance: the folder of their records. Without a usable record a run is not comparable, for `UNKNOWN`.
    """
    found: dict[str, list[dict[str, Any]]] = {run_id: [] for run_id in run_ids}
    for _, record in records.readable(provenance):
        if record.get("environment"):
            row = record["environment"] | {name.replace("-", "_"): text for name, text in record["libraries"].items()}
            for run_id in found.keys() & record["runs"]:
                found[run_id] += [row] if row not in found[run_id] else []
    unknown = {"comparable": False, "reason": UNKNOWN}
    rows = [{"run_id": name} | row for name in sorted(found) for row in found[name] or [unknown]]
    return _table(rows, ENVIRONMENT_TYPES)


def timings_table(run_ids: list[str], timings: Path) -> pa.Table:
    """Return a row per run and pack that was trained at once, sorted by run id; other wall times are not measured.

    Args:
        run_ids: the runs.
        timings: the folder of the packs' records.
    """
    wanted, rows = set(run_ids), []
    for path, record in records.readable(timings):
        pack = {"pack": path.stem, "pack_runs": len(record["runs"]), "pack_seconds": record["seconds"]}
        pack |= {"estimated_seconds": record["estimated"], "processor": record["cpu"], "device": record["device"]}
        rows += [{"run_id": run_id} | pack for run_id in record["runs"] if run_id in wanted]
    return _table(sorted(rows, key=lambda row: (row["run_id"], row["pack"])), TIMINGS_TYPES)


def _table(rows: list[dict[str, Any]], types: dict[str, pa.DataType]) -> pa.Table:
    columns = [pa.array([row.get(name) for row in rows], kind) for name, kind in types.items()]
    return pa.table(columns, schema=pa.schema(list(types.items())))
