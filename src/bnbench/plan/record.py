"""The plan's file: what collect, figures and report need to know of the plan, read and checked once per stage.

Snakemake writes the file before it starts a stage. A stage reads it into a frozen `PlanRecord`, so that a missing or
misspelt key is refused with its place at the start of a stage, not in the middle of its work.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from bnbench.core.files import read_sealed, write_sealed
from bnbench.params.claims.schema import Claim, Work
from bnbench.params.fields import Strict, Tier
from bnbench.params.run_schema import Run
from bnbench.params.study_schema import Figure, Published
from bnbench.store.validation import validated

REMEDY = "name a plan's file under .bnbench/plans, which snakemake rewrites whenever it starts"


class DatasetRecord(Strict):
    """A data set's title and licence; `shape` is channels, height and width of an image."""

    title: str
    licence: str
    shape: Annotated[tuple[int, int, int], Field(strict=False)]


class AugmentationRecord(Strict):
    """An augmentation that runs of the plan use, with the folder of its images and manifest."""

    dataset: str
    augmentation: str
    folder: str


class StudyRecord(Strict):
    """A study: its texts, figures, published values and claims, and the ids of its runs.

    `varies` are the settings that its grid varies, `data` the data sets that the tier `full` uses, `order` the names
    of its figures as the report shows them: JSON objects are written with sorted keys.
    """

    title: str
    question: str
    work: str | None
    varies: list[str]
    data: list[str]
    figures: dict[str, Figure]
    order: list[str]
    published: list[Published]
    claims: Annotated[dict[str, Claim], Field(default_factory=dict)]
    runs: list[str]


class RunRecord(Strict):
    """A run: its settings, and the fingerprint of its data."""

    config: Run
    data: str


class PlanContent(Strict):
    """The studies of a tier, with the data sets and augmentations of their runs."""

    tier: Tier
    about: str
    studies: dict[str, StudyRecord]
    datasets: dict[str, DatasetRecord]
    augmentations: list[AugmentationRecord]
    works: Annotated[dict[str, Work], Field(default_factory=dict)]

    @property
    def titles(self) -> dict[str, str]:
        """Title of each data set by its key."""
        return {name: dataset.title for name, dataset in self.datasets.items()}


class PlanRecord(PlanContent):
    """The plan as its file holds it: its content, the identities of its stages, and every run by its id."""

    trainer_version: int
    tables_id: str
    figures_id: str
    report_id: str
    runs: dict[str, RunRecord]

    @model_validator(mode="after")
    def _names_exist(self) -> "PlanRecord":
        for name, study in self.studies.items():
            if unknown := set(study.runs) - self.runs.keys():
                raise ValueError(f"study {name} names run {min(unknown)}, which is not among the plan's runs")
            if sorted(study.order) != sorted(study.figures):
                raise ValueError(f"study {name} orders figures {study.order}, but has {sorted(study.figures)}")
        return self

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON values; a figure's or published value's unset options stay unset."""
        return self.model_dump(mode="json", exclude_unset=True)

    def write(self, path: Path) -> None:
        """Write the record to `path`, with the file's own digest."""
        write_sealed(path, self.as_dict())

    @classmethod
    def read(cls, path: Path) -> "PlanRecord":
        """Return the record that `write` wrote to `path`.

        Raises:
            UserError: there is no such file, it was altered, or it does not hold a plan.
        """
        record = read_sealed(path, REMEDY)
        return validated(cls, {key: value for key, value in record.items() if key != "digest"}, path, REMEDY)
