"""Comparison of a tier's results with the published digests: equal, or the first difference and its likely reason."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from bnbench.arithmetic import ARITHMETIC
from bnbench.core import identities
from bnbench.core.errors import UserError
from bnbench.manage import published
from bnbench.manage.published import Published
from bnbench.params.config import options
from bnbench.plan.identity import TRAINER_VERSION, trainer_source
from bnbench.plan.plan import Plan
from bnbench.store import records, run_record
from bnbench.tables.collect import CURVES_TYPES
from bnbench.tables.files import csv_bytes


@dataclass(frozen=True)
class Results:
    """A tier's results.

    Args:
        plan: the plan of the tier.
        folder: the folder of its run store, tables and records.
    """

    plan: Plan
    folder: Path

    @cached_property
    def excluded(self) -> dict[str, str]:
        """Runs whose settings let their results differ between machines, with the setting."""
        reasons = {run_id: records.not_comparable(run) for run_id, run in self.plan.runs.items()}
        return {run_id: reason for run_id, reason in reasons.items() if reason}

    @property
    def comparable(self) -> list[str]:
        """The other runs' ids, sorted."""
        return sorted(self.plan.runs.keys() - self.excluded.keys())

    def run(self, run_id: str) -> run_record.Content:
        """Return a run of the store.

        Raises:
            UserError: it is missing, or damaged.
        """
        folder = self.folder / "runs" / run_id
        if not (folder / "run.json").is_file():
            remedy = f"snakemake {options(self.plan.params, self.plan.resolved.tier)} trains it"
            raise UserError(f"run {run_id} is missing: there is no {folder}/run.json; {remedy}")
        return run_record.load(folder)

    def environments(self, run_id: str) -> list[dict[str, Any]]:
        """Return the records of a run's provenance."""
        return records.of_run(self.folder / "provenance", run_id)

    def tables(self) -> dict[str, str]:
        """Return the SHA-256 of each table as CSV, without the rows of excluded runs.

        Raises:
            UserError: there are no tables of this tier and its parameters, or one was altered.
        """
        folder = self.folder / "tables"
        identity = identities.only(folder, f"identity-{self.plan.ids.tables}.json")
        found = {
            name: pq.read_table(io.BytesIO(identity.content(folder / f"{name}.parquet"))) for name in identities.BOTH
        }
        convert = pacsv.ConvertOptions(column_types=CURVES_TYPES)
        curves = io.BytesIO(identity.content(folder / "curves.csv"))
        found["curves"] = pacsv.read_csv(curves, convert_options=convert)
        kept = {name: self._kept(table) for name, table in found.items()}
        return {name: hashlib.sha256(csv_bytes(rows)).hexdigest() for name, rows in kept.items() if rows is not None}

    def _kept(self, table: pa.Table) -> pa.Table | None:
        """Return the rows of a table that no excluded run decides; None if that cannot be said."""
        studies = {name for name, ids in self.plan.studies.items() if self.excluded.keys() & ids}
        for column, without in (("run_id", self.excluded.keys()), ("study", studies)):
            if column in table.column_names:
                left_out = pc.is_in(table[column], value_set=pa.array(sorted(without), pa.string()))
                return table.filter(pc.invert(left_out))
        return None if self.excluded else table


def publish(results: Results) -> Published:
    """Write the digests of a tier's results; a processor is added to those that gave the same results before.

    Raises:
        UserError: a run or table is missing, damaged or altered, or a run was not trained in a comparable way.
    """
    processors = set()
    for run_id in results.comparable:
        environments = [record.get("environment") for record in results.environments(run_id)]
        reason = next((at["reason"] for at in environments if at and not at["comparable"]), None)
        if reason or not any(environments):
            why = reason or "no record names its environment"
            raise UserError(f"run {run_id} is not comparable with other machines' ({why}); publish runs that are")
        processors |= {at["processor"] for at in environments if at}
    new = Published(
        tier=results.plan.resolved.tier,
        arithmetic=ARITHMETIC,
        trainer_version=TRAINER_VERSION,
        processors=sorted(processors),
        tables=results.tables(),
        runs={run_id: published.of_run(results.run(run_id)) for run_id in results.comparable},
    )
    if published.path(new.tier).exists():
        old = published.read(new.tier)
        if (old.tables, old.runs) == (new.tables, new.runs):
            new = new.model_copy(update={"processors": sorted({*old.processors, *new.processors})})
    published.write(new)
    return new


def differences(results: Results, expected: Published) -> Iterator[str]:
    """Yield a line for each kind of difference between a tier's results and the published digests."""
    versions = (expected.arithmetic, expected.trainer_version)
    if versions != (ARITHMETIC, TRAINER_VERSION):
        was, now = (f"arithmetic {a}, trainer version {t}" for a, t in (versions, (ARITHMETIC, TRAINER_VERSION)))
        yield f"{published.path(expected.tier)} was written with {was}; this program has {now}, so every run is another"
        return
    others = [*_other_runs(results, expected)]
    yield from others
    different = [*_different_runs(results, expected)]
    yield from different
    if others or different:
        yield "tables are not compared, for they are made from these runs"
    else:
        yield from _different_tables(results, expected)


def _other_runs(results: Results, expected: Published) -> Iterator[str]:
    """Yield lines on runs that only the tier has, or only the digests."""
    edited = "the parameters or the declared data were edited since, or the digests are those of other ones"
    if added := sorted(set(results.comparable) - expected.runs.keys()):
        yield f"{len(added)} runs of tier {expected.tier} are not among the published ones, first {added[0]}: {edited}"
    if gone := sorted(expected.runs.keys() - set(results.comparable)):
        yield f"{len(gone)} published runs are not in tier {expected.tier}, first {gone[0]}: {edited}"


def _different_runs(results: Results, expected: Published) -> Iterator[str]:
    """Yield a line on the first run that is missing or damaged, one on the first that differs, and their numbers."""
    unusable, different = [], []
    for run_id in sorted(set(results.comparable) & expected.runs.keys()):
        try:
            found = published.difference(results.run(run_id), expected.runs[run_id])
        except UserError as error:
            unusable.append(str(error))
            continue
        if found:
            different.append(found)
    if unusable:
        yield f"{len(unusable)} runs are missing or damaged, first: {unusable[0]}"
    if different:
        first = different[0]
        where = f"at step {first.first.step}, {first.first.quantity}" if first.first else "a measurement is missing"
        value = f" is {_short(first.first.value)} here" if first.first else ""
        yield f"{len(different)} runs differ, first {first.run_id} ({_named(results, first.run_id)}): {where}{value}"
        yield f"likely reason: {likely(results, first.run_id)}"


def _different_tables(results: Results, expected: Published) -> Iterator[str]:
    found = results.tables()
    names = sorted(
        name for name in found.keys() | expected.tables.keys() if found.get(name) != expected.tables.get(name)
    )
    if names:
        why = "every run is equal, so they were made by other code than the published ones"
        yield f"tables {', '.join(names)} in {results.folder / 'tables'} differ; {why}"


def likely(results: Results, run_id: str) -> str:
    """Return the likely reason for which a run differs from the published one."""
    origins = results.environments(run_id)
    environments = [origin["environment"] for origin in origins if origin.get("environment")]
    if not environments:
        return f"unknown, as no record in {results.folder / 'provenance'} names the environment that trained it"
    if reason := next((at["reason"] for at in environments if not at["comparable"]), None):
        return f"it was trained in a way that is not comparable between machines: {reason}"
    if arithmetic := {at["arithmetic"] for at in environments} - {ARITHMETIC}:
        return f"it was trained with arithmetic {min(arithmetic)}; this is arithmetic {ARITHMETIC}"
    if {origin["source"] for origin in origins} != {trainer_source()}:
        return "it was trained by other source code of the same trainer version; bnbench explain names the commit"
    return "none is known; bnbench explain RUN_ID --check shows whether this machine gives the same bytes twice"


def _named(results: Results, run_id: str) -> str:
    study = next(name for name, ids in results.plan.studies.items() if run_id in ids)
    run = results.plan.runs[run_id]
    return f"study {study}, {run.model}, norm {run.norm}, seed {run.seed}"


def _short(value: object) -> str:
    return text if len(text := repr(value)) <= 40 else f"{text[:40]}..."


def excluded(results: Results) -> Iterator[str]:
    """Yield a line for each setting that takes runs out of the comparison, with their number."""
    reasons = list(results.excluded.values())
    for reason in sorted(set(reasons)):
        yield f"{reasons.count(reason)} runs are not compared: {reason}"
