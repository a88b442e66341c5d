"""Types of values shared by the schemas: names, bounded numbers, strict models."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

NO_AUGMENTATION = "none"
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
