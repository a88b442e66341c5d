"""The plan: studies -> runs -> packs, and which runs are stored, missing or orphaned, before any stage starts."""

from functools import cached_property
from pathlib import Path

from bnbench.core import identities, machine
from bnbench.core.files import digest
from bnbench.core.paths import RELATIVE, Project
from bnbench.data.identity import augmented_fingerprint, fingerprint
from bnbench.params.fields import NO_AUGMENTATION
from bnbench.params.resolve import Resolved, ResolvedStudy, asked_data, resolve
from bnbench.params.run_schema import Run
from bnbench.plan import cost, memory
from bnbench.plan.identity import TRAINER_VERSION, StageIds, run_id, stage_ids
from bnbench.plan.packs import PackRecord, Width, make_packs, shape_of
from bnbench.plan.record import AugmentationRecord, DatasetRecord, PlanContent, PlanRecord, RunRecord, StudyRecord
from bnbench.store.run_record import run_folders


class Plan:
    """The studies, runs and packs of one tier of a parameter file, compared with the run store.

    Args:
        params: the parameter file.
        tier: the tier to plan instead of the file's.
        root: the folder that holds `data/`, `results/`, `reports/`.

    Raises:
        UserError: the parameter file is invalid.
    """

    def __init__(self, params: Path, tier: str | None = None, root: Path = Path()) -> None:
        self.resolved: Resolved = resolve(params, tier)
        self.memory = machine.share(machine.cores())  # MiB per worker
        self.device = "cpu"  # the kind of device that packs are sized for
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
        """Return the fingerprint of a run's data: of its data set, or of that data set's augmentation."""
        return self.augmented[run.dataset, run.augmentation][1] if augmented(run) else self.keys[run.dataset]

    @cached_property
    def augmented(self) -> dict[tuple[str, str], tuple[str, str]]:
        """Folder and fingerprint of each pair of data set and augmentation that runs use."""
        found = {}
        for run in (run for study in self.resolved.studies for run in study.runs if augmented(run)):
            dataset, definition = self.resolved.datasets[run.dataset], self.resolved.augmentations[run.augmentation]
            key = augmented_fingerprint(dataset, definition)
            folder = RELATIVE.augmented_of(run.dataset, run.augmentation, key)
            found[run.dataset, run.augmentation] = str(folder), key
        return dict(sorted(found.items()))

    def raw(self, dataset: str) -> str | None:
        """Return the folder that a data set is downloaded to; None if it needs no download."""
        datasets = self.resolved.datasets
        files = datasets[dataset].files
        # data sets of the same files share a download
        owner = next(name for name, other in datasets.items() if other.files == files)
        return str(RELATIVE.raw_of(owner, digest(files))) if files else None

    @property
    def store(self) -> Path:
        """The run store."""
        return self.project.runs

    @cached_property
    def stored(self) -> set[str]:
        """Ids of all finished runs in the store, whether or not they belong to this plan."""
        return {folder.name for folder in run_folders(self.store) if (folder / "run.json").is_file()}

    @property
    def missing(self) -> dict[str, Run]:
        """Runs that are not in the store."""
        return {name: run for name, run in self.runs.items() if name not in self.stored}

    @property
    def others(self) -> set[str]:
        """Ids of stored runs that are in no study of this tier; they may be in another tier."""
        return self.stored - self.runs.keys()

    @cached_property
    def packs(self) -> list[PackRecord]:
        """Packs of the missing runs, the longest first."""
        return make_packs(self.missing, self._width, self._pack, self.memory)

    @property
    def least(self) -> float:
        """MiB of the largest pack if each run were a pack of its own."""
        shapes = {shape_of(run): {name: run} for name, run in self.missing.items()}
        return max((self._pack(runs).memory for runs in shapes.values()), default=0.0)

    def _width(self, run: Run) -> Width:
        return cost.width(run, self.resolved.datasets[run.dataset], self.device, self._times(run))

    def _times(self, run: Run) -> int:
        """Return the factor by which a run's augmentation enlarges its training set."""
        return self.resolved.augmentations[run.augmentation].times if augmented(run) else 1

    def _pack(self, runs: dict[str, Run]) -> PackRecord:
        listed = list(runs.values())
        some = listed[0]
        times = self._times(some)
        folder = self.augmented[some.dataset, some.augmentation][0] if augmented(some) else None
        dataset = self.resolved.datasets[some.dataset]
        data = RELATIVE.prepared_of(some.dataset, self.keys[some.dataset])
        needed = memory.peak(listed, dataset, times, together=self.device == "cuda")
        return PackRecord.of(runs, str(data), cost.seconds(listed, dataset, times), folder, needed)

    @cached_property
    def content(self) -> PlanContent:
        """The studies, data sets and augmentations as the stages after training see them."""
        return PlanContent(
            tier=self.resolved.tier,
            about=self.resolved.about,
            studies={study.name: self._study(study) for study in self.resolved.studies},
            datasets={
                name: DatasetRecord(title=dataset.title, licence=dataset.licence, shape=dataset.shape)
                for name, dataset in self.resolved.datasets.items()
            },
            augmentations=[
                AugmentationRecord(dataset=dataset, augmentation=name, folder=folder)
                for (dataset, name), (folder, _) in self.augmented.items()
            ],
            works=self.resolved.works,
        )

    def _study(self, resolved: ResolvedStudy) -> StudyRecord:
        study = resolved.study
        return StudyRecord(
            title=study.title,
            question=study.question,
            work=study.work,
            varies=resolved.varies,
            data=asked_data(self.resolved.values, resolved.name),
            figures=study.figures,
            order=list(study.figures),
            published=study.published,
            claims=study.claims,
            runs=self.studies[resolved.name],
        )

    @cached_property
    def ids(self) -> StageIds:
        """Identities of the tables, the figures and the report."""
        return stage_ids(self.content)

    @property
    def identities(self) -> dict[str, Path]:
        """Path of the identity file of each stage that has one; the tables have two."""
        own_ids = {**self.ids._asdict(), "environment": self.ids.tables}
        return {stage: self.root / identities.STAGES[stage].path(own_id) for stage, own_id in own_ids.items()}

    def record(self) -> PlanRecord:
        """Return what collect, figures and report read of the plan."""
        return PlanRecord(
            **dict(self.content),
            trainer_version=TRAINER_VERSION,
            tables_id=self.ids.tables,
            figures_id=self.ids.figures,
            report_id=self.ids.report,
            runs={name: RunRecord(config=run, data=self.key(run)) for name, run in self.runs.items()},
        )


def augmented(run: Run) -> bool:
    """Return whether the run trains on augmented images."""
    return run.augmentation != NO_AUGMENTATION
