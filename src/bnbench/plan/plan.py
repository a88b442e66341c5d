"""The plan: studies -> runs -> packs, and what of it is done or missing, before anything starts.

Whatever decides a result is in its name: a run id is the hash of the run's settings, of its data and of the
trainer's version; tables, figures and report carry the hash of what they were made from. So nothing depends on
modification times or on a tool's memory.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from bnbench.core import identities, machine
from bnbench.core.files import canonical, digest, source_digest
from bnbench.core.paths import RELATIVE, Project
from bnbench.data.identity import augmented_fingerprint, fingerprint
from bnbench.params.fields import NO_AUGMENTATION
from bnbench.params.resolve import Resolved, asked_data, resolve
from bnbench.params.run_schema import Run
from bnbench.plan import cost
from bnbench.store.run_record import identity, run_folders

# Raised by hand when the meaning of training changes: every run is then another run.
TRAINER_VERSION = 3


# What may differ between the runs of a pack; all else is their shape.
OF_A_RUN = {"seed", "learning_rate"}

# Folders of this package whose code decides what a stage makes of its input; `core` decides no result.
SOURCES = {
    "data": ("params", "data"),
    "train": ("params", "data", "plan", "store", "training"),
    "tables": ("params", "data", "plan", "store", "tables"),
    "figures": ("params", "data", "tables", "figures"),
    "report": ("params", "data", "tables", "figures", "report"),
}


@cache
def trainer_source() -> str:
    """Return the digest of the source that training consists of."""
    return source_digest(*SOURCES["train"])


@dataclass(frozen=True)
class Pack:
    """Runs of one shape, trained side by side; estimated seconds, and MiB at its peak. Its id hashes its run ids."""

    runs: dict[str, Run]
    data: str
    seconds: float
    augmented: str | None = None
    memory: float = cost.PROCESS_MIB

    @cached_property
    def id(self) -> str:
        """Hash of the run ids."""
        return digest(sorted(self.runs))

    def record(self) -> dict[str, Any]:
        """The pack as JSON, for the worker that trains it."""
        runs = {run_id: run.model_dump() for run_id, run in self.runs.items()}
        where = {"data": self.data, "augmented": self.augmented}
        return {"id": self.id, **where, "seconds": self.seconds, "memory": self.memory, "runs": runs}


class Plan:
    """All that a parameter file asks for in one tier, held against the run store.

    Args:
        params: the parameter file.
        tier: a tier instead of the file's.
        root: the folder that holds `data/`, `results/`, `reports/`.

    Raises:
        UserError: the parameter file is not as it must be.
    """

    def __init__(self, params: Path, tier: str | None = None, root: Path = Path()) -> None:
        self.resolved: Resolved = resolve(params, tier)
        self.memory = machine.share(machine.cores())  # MiB of a worker
        self.device = "cpu"  # the kind that packs are made for
        self.params = params
        self.root = root
        self.project = Project(root)
        self.keys = {name: fingerprint(dataset) for name, dataset in self.resolved.datasets.items()}
        self.runs: dict[str, Run] = {}
        self.studies: dict[str, list[str]] = {}
        for study in self.resolved.studies:
            named = {run_id(run, self.key(run)): run for run in study.runs}
            self.runs |= named
            self.studies[study.name] = list(named)

    def key(self, run: Run) -> str:
        """What decides a run's data: the fingerprint of its data set, or of that data set's augmentation."""
        return self.augmented[run.dataset, run.augmentation][1] if augmented(run) else self.keys[run.dataset]

    @cached_property
    def augmented(self) -> dict[tuple[str, str], tuple[str, str]]:
        """Of each data set and augmentation that a run has: where it lies, and its fingerprint."""
        found = {}
        for run in (run for study in self.resolved.studies for run in study.runs if augmented(run)):
            dataset, definition = self.resolved.datasets[run.dataset], self.resolved.augmentations[run.augmentation]
            key = augmented_fingerprint(dataset, definition)
            folder = RELATIVE.augmented_of(run.dataset, run.augmentation, key)
            found[run.dataset, run.augmentation] = str(folder), key
        return dict(sorted(found.items()))

    def raw(self, dataset: str) -> str | None:
        """The folder that a data set is downloaded to, if it needs a download."""
        datasets = self.resolved.datasets
        files = datasets[dataset].files
        owner = next(name for name, other in datasets.items() if other.files == files)  # equal files are fetched once
        return str(RELATIVE.raw_of(owner, digest(files))) if files else None

    @property
    def store(self) -> Path:
        """The run store."""
        return self.project.runs

    @cached_property
    def stored(self) -> set[str]:
        """Ids of all finished runs in the store, of this plan or not."""
        return {folder.name for folder in run_folders(self.store) if (folder / "run.json").is_file()}

    @property
    def missing(self) -> dict[str, Run]:
        """Runs that are not in the store."""
        return {name: run for name, run in self.runs.items() if name not in self.stored}

    @property
    def others(self) -> set[str]:
        """Stored runs that no study of this tier asks for; another tier's may."""
        return self.stored - self.runs.keys()

    @cached_property
    def packs(self) -> list[Pack]:
        """The missing runs in packs, the longest first."""
        shapes: dict[bytes, dict[str, Run]] = defaultdict(dict)
        for name, run in self.missing.items():
            shapes[canonical(run.model_dump(exclude=OF_A_RUN))][name] = run
        cut = [part for runs in shapes.values() for part in parts(runs, self._width(runs))]
        return sorted((pack for part in cut for pack in self._fitting(part)), key=lambda pack: -pack.seconds)

    @property
    def least(self) -> float:
        """MiB of the largest pack, were each run a pack of its own."""
        shapes = {canonical(run.model_dump(exclude=OF_A_RUN)): (name, run) for name, run in self.missing.items()}
        return max((self._pack({name: run}).memory for name, run in shapes.values()), default=0.0)

    def _fitting(self, runs: dict[str, Run]) -> list[Pack]:
        """The runs as a pack; as halves, and theirs, where it would not fit a worker's memory."""
        pack, items = self._pack(runs), list(runs.items())
        if pack.memory <= self.memory or len(items) == 1:
            return [pack]
        half = len(items) // 2
        return [part for side in (items[:half], items[half:]) for part in self._fitting(dict(side))]

    def _width(self, runs: dict[str, Run]) -> int:
        run = next(iter(runs.values()))
        return cost.width(run, self.resolved.datasets[run.dataset], self.device)

    def _pack(self, runs: dict[str, Run]) -> Pack:
        some = next(iter(runs.values()))
        times, where = 1, None
        if augmented(some):
            times = self.resolved.augmentations[some.augmentation].times
            where = self.augmented[some.dataset, some.augmentation][0]
        dataset, listed = self.resolved.datasets[some.dataset], list(runs.values())
        place = str(RELATIVE.prepared_of(some.dataset, self.keys[some.dataset]))
        return Pack(runs, place, cost.seconds(listed, dataset, times), where, cost.memory(listed, dataset, times))

    @cached_property
    def tables_id(self) -> str:
        """Identity of the tables: the runs of each study, and the code that collects them."""
        studies = [(s.name, s.study.work, self.studies[s.name]) for s in self.resolved.studies]
        return digest(self.resolved.tier, studies, TRAINER_VERSION, source_digest(*SOURCES["tables"]))

    @cached_property
    def figures_id(self) -> str:
        """Identity of the figures: the tables, what is drawn of them, and the code that draws."""
        options = {s.name: s.study.model_dump(include={"figures"}, exclude_unset=True) for s in self.resolved.studies}
        shown = [options, {name: dataset.title for name, dataset in self.resolved.datasets.items()}]
        shown.append({study: words["data"] for study, words in self.words()["studies"].items()})
        return digest(self.tables_id, shown, list(self.augmented.values()), source_digest(*SOURCES["figures"]))

    @cached_property
    def report_id(self) -> str:
        """Identity of the report: figures, words, and the code that writes it."""
        return digest(self.figures_id, self.words(), source_digest(*SOURCES["report"]))

    def words(self) -> dict[str, Any]:
        """The texts of the parameter file that a reader sees."""
        studies = {
            s.name: {
                "title": s.study.title,
                "question": s.study.question,
                "work": s.study.work,
                "varies": s.varies,
                "data": asked_data(self.resolved.values, s.name),
                "figures": {name: figure.model_dump(exclude_unset=True) for name, figure in s.study.figures.items()},
                "order": list(s.study.figures),  # of the figures in the report: a record's keys have none
                "published": [value.model_dump(exclude_unset=True) for value in s.study.published],
            }
            for s in self.resolved.studies
        }
        datasets = {
            name: {"title": d.title, "licence": d.licence, "shape": list(d.shape)}
            for name, d in self.resolved.datasets.items()
        }
        augmentations = [
            {"dataset": dataset, "augmentation": name, "folder": folder}
            for (dataset, name), (folder, _) in self.augmented.items()
        ]
        return {
            "about": self.resolved.about,
            "studies": studies,
            "datasets": datasets,
            "augmentations": augmentations,
        }

    @property
    def identities(self) -> dict[str, Path]:
        """Where the identities of tables, figures and report lie."""
        stages = identities.STAGES
        return {name: self.root / stage.path(getattr(self, f"{name}_id")) for name, stage in stages.items()}

    def record(self) -> dict[str, Any]:
        """The whole plan as JSON: what collect, figures and report read."""
        ids = {"tables_id": self.tables_id, "figures_id": self.figures_id, "report_id": self.report_id}
        record = {"tier": self.resolved.tier, "trainer_version": TRAINER_VERSION, **ids, **self.words()}
        for name, runs in self.studies.items():
            record["studies"][name]["runs"] = runs
        record["runs"] = {name: {"config": run.model_dump()} for name, run in self.runs.items()}
        return record


def augmented(run: Run) -> bool:
    """Whether the run's training images are moved."""
    return run.augmentation != NO_AUGMENTATION


def run_id(run: Run, data: str) -> str:
    """Hash of all that decides a run's result: its settings, its data's fingerprint, the trainer's version."""
    return identity(run.model_dump(), data, TRAINER_VERSION)


def parts(runs: dict[str, Run], width: int) -> list[dict[str, Run]]:
    """At most `width` runs each, as equal as can be.

    Runs of one seed see the same images, and share the work on them in a pack of their own, where they fill half of it.
    """
    seeds = Counter(run.seed for run in runs.values())
    groups: dict[int | None, list[tuple[str, Run]]] = defaultdict(list)
    for name, run in sorted(runs.items(), key=lambda item: (item[1].seed, item[1].learning_rate)):
        groups[run.seed if 2 * seeds[run.seed] >= width else None].append((name, run))
    cut = []
    for items in groups.values():
        count = -(-len(items) // width)
        edges = [round(i * len(items) / count) for i in range(count + 1)]
        cut += [dict(items[a:b]) for a, b in pairwise(edges)]
    return cut
