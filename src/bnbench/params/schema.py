"""What may stand in `params.yaml`: names, types, ranges. Each field's description is its documentation.

Combinations of values (a batch larger than its training set, say) are checked on resolved runs in `params`.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field

from bnbench.params.dataset_schema import Augmentation, Dataset
from bnbench.params.fields import NO_AUGMENTATION, Name, Strict, Tier
from bnbench.params.run_schema import Run
from bnbench.params.study_schema import Settings, Study


class TierSettings(Strict):
    """How big the studies are run."""

    about: Annotated[str, Field(min_length=1)]
    base: Annotated[Settings, Field(description="settings of every study in this tier")] = Field(
        default_factory=Settings
    )


def _no_none(augmentations: dict[str, Augmentation]) -> dict[str, Augmentation]:
    if NO_AUGMENTATION in augmentations:
        raise ValueError(f"{NO_AUGMENTATION!r} says that images are left as they are; choose another name")
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
    tier: Annotated[Tier, Field(description="how big the studies are run")]
    max_runs: Annotated[
        int,
        Field(ge=1, le=10**6, description="at most so many runs in all studies of a tier; more is taken for a slip"),
    ] = 10_000
    tiers: dict[Tier, TierSettings]
    datasets: dict[Name, Dataset]
    augmentations: Annotated[
        dict[Name, Augmentation], AfterValidator(_no_none), Field(description="what a run's `augmentation` may name")
    ] = {}
    training: Annotated[Run, Field(description="defaults of every run; a study's base and grid override them")]
    studies: Annotated[dict[Name, Study], Field(min_length=1)]
