"""A job's file: its packs, as the plan wrote them. Nothing is trained under an id that is not its own."""

import contextlib
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, PositiveFloat, TypeAdapter, ValidationError

from bnbench.core.errors import UserError
from bnbench.core.files import Unreadable, digest, read_json
from bnbench.core.identities import Identity, trained
from bnbench.params.run_schema import Run
from bnbench.plan.plan import Plan, run_id

REMEDY = "name a job's file under .bnbench/jobs, which snakemake rewrites whenever it starts"


class Recorded(BaseModel):
    """A pack as `plan.Pack.record` writes it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)
    id: str
    data: str
    augmented: str | None
    seconds: PositiveFloat
    memory: PositiveFloat
    runs: dict[str, dict[str, Any]]


def read_packs(path: Path) -> list[dict[str, Any]]:
    """A job's packs, each as `plan.Pack.record` writes it.

    Raises:
        UserError: there is no such file, or it is not as it was written. Whether a run's settings are those of its id
            shows only where its data are read: `read_runs`.
    """
    packs = read_json(path, REMEDY)
    try:
        for pack in TypeAdapter(list[Recorded]).validate_python(packs):
            if digest(sorted(pack.runs)) != pack.id:
                raise Unreadable(path, f"pack {pack.id} does not hold the runs that its id is a hash of", REMEDY)
    except ValidationError as error:
        first = error.errors()[0]
        raise Unreadable(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}", REMEDY) from None
    return cast(list[dict[str, Any]], packs)


def read_runs(configs: dict[str, Any], data: str, folder: str) -> dict[str, Run]:
    """A recorded pack's runs, after their ids have shown to be the hashes of their settings and data.

    Args:
        configs: the runs' settings by their ids.
        data: the fingerprint of the data that are in `folder`.
        folder: where the data are.

    Raises:
        UserError: they are not.
    """
    runs = {}
    for name, config in configs.items():
        try:
            runs[name] = Run.model_validate(config)
        except ValidationError as error:
            raise UserError(f"run {name}: {error}; {REMEDY}") from None
        if run_id(runs[name], data) != name:
            raise UserError(
                f"run {name}: its id is not the hash of its settings and of the data in {folder} (fingerprint {data}); "
                f"{REMEDY}. Should it be said again, the data are of another definition: delete the folder {folder}"
            )
    return runs


def left(folder: Path, plan: Plan) -> set[str]:
    """Marks of jobs that ran and were never collected: none, where the tables are of just the runs that are there.

    `snakemake trained` leaves them. A mark whose job cannot be read is of no use to Snakemake: the tables' identity
    goes instead, so that they are collected anew.
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
