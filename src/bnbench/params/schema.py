"""Schema of a parameter file: names, types, ranges and, as descriptions, their documentation.

Combinations of values (a batch larger than its training set, say) are checked by `run_rules` and `study_rules`.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field

from bnbench.params.claims.schema import Work
from bnbench.params.dataset_schema import Augmentation, Dataset
from bnbench.params.fields import NO_AUGMENTATION, Name, Strict, Tier
from bnbench.params.run_schema import Run, Settings
from bnbench.params.study_schema import Study


class TierSettings(Strict):
    """Size at which all studies are run."""

    about: Annotated[str, Field(min_length=1, description="description in overviews and reports")]
    base: Annotated[
        Settings, Field(description="settings of every study in this tier; a study's own override them")
    ] = Field(default_factory=Settings)


def _no_none(augmentations: dict[str, Augmentation]) -> dict[str, Augmentation]:
    """Refuse an augmentation with the name that stands for no augmentation."""
    if NO_AUGMENTATION in augmentations:
        raise ValueError(f"{NO_AUGMENTATION!r} is the name for no augmentation; choose another name")
    return augmentations


INHERITED = ("tiers", "datasets", "training")  # required keys that the extended file may provide


def _required_unless_extending(schema: dict[str, Any]) -> None:
    """Let an editor accept a file without the keys that the file it extends provides."""
    schema["required"] = [key for key in schema["required"] if key not in INHERITED]
    schema["anyOf"] = [{"required": ["extends"]}, {"required": list(INHERITED)}]


class Params(Strict):
    """A parameter file, such as `params.yaml`."""

    model_config = ConfigDict(json_schema_extra=_required_unless_extending)

    extends: Annotated[
        str | None,
        Field(
            description="path of another parameter file, relative to the folder of this one; its tiers, datasets, "
            "augmentations and training are taken, and entries of this file replace those of the same name"
        ),
    ] = None
    tier: Annotated[Tier, Field(description="size of the studies: quick, small or full")]
    max_runs: Annotated[
        int,
        Field(
            ge=1,
            le=10**6,
            description="largest number of runs of all studies in a tier; more are refused as a probable mistake",
        ),
    ] = 10_000
    tiers: Annotated[dict[Tier, TierSettings], Field(description="settings of each tier")]
    datasets: Annotated[dict[Name, Dataset], Field(description="values that a run's `dataset` may have")]
    augmentations: Annotated[
        dict[Name, Augmentation],
        AfterValidator(_no_none),
        Field(description="values that a run's `augmentation` may have"),
    ] = {}
    works: Annotated[dict[Name, Work], Field(description="published works: values that a study's `work` may have")] = {}
    training: Annotated[
        Run, Field(description="default settings of every run; tiers, and a study's base and grid, override them")
    ]
    studies: Annotated[dict[Name, Study], Field(min_length=1, description="the studies: questions with their runs")]
