"""Types of values shared by the schemas: names, bounded numbers, strict models."""

import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

NO_AUGMENTATION = "none"
CLASSES = "classes"  # the confusion matrix, which figures and claims may use like a probe and every run has
# columns of the tables that a figure, a published value or a claim may name
MEASURES = (
    *("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "test_loss", "test_accuracy"),
    *("official_loss", "official_accuracy"),
    *("generalisation_gap", "epochs", "best_epoch", "learning_rate"),
)
# pattern of a quantity's name -> its least and greatest possible value
LIMITS = {
    r".*accuracy|share.*": (0.0, 1.0),
    r".*(loss|magnitude)": (0.0, math.inf),
    r"generalisation_gap": (-1.0, 1.0),
}
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]
Positive = Annotated[float, Field(gt=0)]
# abs: -0.0 becomes 0.0, so that both give the same run id
NotNegative = Annotated[float, Field(ge=0), AfterValidator(abs)]
Fraction = Annotated[float, Field(ge=0, lt=1), AfterValidator(abs)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Ramp = Annotated[list[NotNegative], Field(min_length=2, max_length=2)]
Tier = Literal["quick", "small", "full"]


class Strict(BaseModel):
    """Base of all schemas: no unknown keys, no conversion of types, finite numbers only, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def distinct(values: list[Any]) -> list[Any]:
    """Return the values if they are distinct.

    Raises:
        ValueError: a value occurs twice.
    """
    seen: set[Any] = set()
    listed: list[Any] = []  # values that are not hashable: schedules, of which there are few
    for value in values:
        try:
            twice = value in seen
            seen.add(value)
        except TypeError:
            twice = value in listed
            listed.append(value)
        if twice:
            raise ValueError(f"{value!r} occurs twice")
    return values


def limits(name: str) -> tuple[float, float]:
    """Return the least and the greatest possible value of the quantity `name`."""
    found = (bounds for pattern, bounds in LIMITS.items() if re.fullmatch(pattern, name.lower()))
    return next(found, (-math.inf, math.inf))
