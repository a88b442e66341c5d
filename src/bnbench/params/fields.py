"""Kinds of values that keys of the parameter file share: names, numbers with limits, strict models."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

NO_AUGMENTATION = "none"
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]
Positive = Annotated[float, Field(gt=0)]
# abs: -0.0 is 0.0
NotNegative = Annotated[float, Field(ge=0), AfterValidator(abs)]
Fraction = Annotated[float, Field(ge=0, lt=1), AfterValidator(abs)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Ramp = Annotated[list[NotNegative], Field(min_length=2, max_length=2)]
Tier = Literal["quick", "small", "full"]


class Strict(BaseModel):
    """Unknown keys are refused, types are not converted, every number is finite, values cannot change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def distinct(values: list[Any]) -> list[Any]:
    """Return the values unless one stands twice.

    Raises:
        ValueError: one does.
    """
    seen: set[Any] = set()
    listed: list[Any] = []  # what cannot be in a set: schedules, of which there are few
    for value in values:
        try:
            twice = value in seen
            seen.add(value)
        except TypeError:
            twice = value in listed
            listed.append(value)
        if twice:
            raise ValueError(f"{value!r} stands twice")
    return values
