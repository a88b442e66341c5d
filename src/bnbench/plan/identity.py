"""Identities of runs, tables, figures and report: hashes of all that decides their content.

A result's path carries its identity, so whether it is up to date depends neither on modification times nor on a
tool's memory.
"""

from functools import cache
from typing import NamedTuple

from bnbench.core.files import digest, source_digest
from bnbench.params.run_schema import Run
from bnbench.plan.record import PlanContent
from bnbench.store.run_record import identity

# Raised by hand when the meaning of training changes: every run is then another run.
TRAINER_VERSION = 4

# Folders of this package whose code decides what a stage makes of its input; `core` decides no result.
SOURCES = {
    "data": ("arithmetic", "params", "data"),
    "train": ("arithmetic", "params", "data", "plan", "store", "training"),
    "tables": ("arithmetic", "params", "data", "plan", "store", "tables", "claims"),
    "figures": ("arithmetic", "params", "data", "plan", "store", "tables", "claims", "figures"),
    "report": ("arithmetic", "params", "data", "plan", "store", "tables", "claims", "figures", "report"),
}


class StageIds(NamedTuple):
    """Identities of the tables, the figures and the report."""

    tables: str
    figures: str
    report: str


@cache
def trainer_source() -> str:
    """Return the digest of the source code that training depends on."""
    return source_digest(*SOURCES["train"])


def run_id(run: Run, data: str) -> str:
    """Return the hash of a run's settings, the fingerprint of its data and the trainer's version."""
    return identity(run.model_dump(), data, TRAINER_VERSION)


def stage_ids(content: PlanContent) -> StageIds:
    """Return the identities of tables, figures and report of a plan.

    The tables depend on the runs and claims of each study; the figures also on their options, on the titles of the
    data sets and on the augmentations; the report on every text as well. Each depends on the source code of its stage.
    """
    words = content.model_dump(mode="json", exclude_unset=True)
    studies = words["studies"].items()
    runs = [(name, study["work"], study["claims"], study["runs"]) for name, study in studies]
    options = {name: (study["figures"], study["data"]) for name, study in studies}
    folders = [entry.folder for entry in content.augmentations]
    tables = digest(content.tier, runs, TRAINER_VERSION, source_digest(*SOURCES["tables"]))
    figures = digest(tables, options, content.titles, folders, source_digest(*SOURCES["figures"]))
    return StageIds(tables, figures, digest(figures, words, source_digest(*SOURCES["report"])))
