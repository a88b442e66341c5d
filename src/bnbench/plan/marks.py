"""Marks of training jobs that ran and whose runs were not collected yet."""

import contextlib
from pathlib import Path

from bnbench.core.errors import UserError
from bnbench.core.identities import Identity, trained
from bnbench.plan.packs import read_packs
from bnbench.plan.plan import Plan


def uncollected(folder: Path, plan: Plan) -> set[str]:
    """Return the marks of finished jobs whose runs the tables may lack; none if the tables are of the stored runs.

    `snakemake trained` leaves such marks. A mark whose job cannot be read is useless to Snakemake: it is removed
    together with the identity of the tables, so that the tables are collected again.

    Args:
        folder: the folder of jobs' files and marks.
        plan: the plan.
    """
    marks, tables = [path for path in folder.glob("[!.]*.done") if path.is_file()], plan.identities["tables"]
    if marks and not plan.packs:
        with contextlib.suppress(UserError):
            if Identity.read(tables).about.get("trained") == trained(plan.store, plan.runs):
                return set()
    readable = set()
    for mark in marks:
        try:
            read_packs(mark.with_suffix(".json"))
            readable.add(str(mark))
        except UserError:
            tables.unlink(missing_ok=True)
            mark.unlink(missing_ok=True)
    return readable
