"""Data sets, their splits and augmentations, as the parameter file defines them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from bnbench.core.names import plain
from bnbench.params.fields import Count, Strict
from bnbench.params.formats import FORMATS, problems

if TYPE_CHECKING:
    FormatName = str
else:
    FormatName = Literal[*FORMATS]


class Split(Strict):
    """How a data set is divided. Depends on `seed` alone, never on a run's seed."""

    valid: Annotated[
        Literal["test"] | Count,
        Field(description="images held out for validation, stratified by class; test: the test images serve for both"),
    ]
    test: Annotated[
        Literal["official"] | Count,
        Field(
            description="the published test set; or so many images, stratified, and then the published test set, "
            "where there is one, is measured too (columns official_loss, official_accuracy)"
        ),
    ]
    seed: Annotated[int, Field(ge=0, lt=2**32)]

    @property
    def held_out(self) -> int:
        """Images taken out of those published for training."""
        return sum(count for count in (self.valid, self.test) if isinstance(count, int))


FileName = Annotated[str, AfterValidator(plain)]

Mirror = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=2000)]

Checksum = Annotated[str, StringConstraints(pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")]


class Dataset(Strict):
    """A data set: where it comes from, what it must be, how it is split."""

    title: Annotated[str, Field(min_length=1)]
    format: Annotated[
        FormatName,
        Field(description="; ".join(f"{name}: {known.about}" for name, known in FORMATS.items())),
    ]
    licence: Annotated[str, Field(min_length=1, description="under which terms the data are published")]
    shape: Annotated[
        tuple[Count, Count, Count],
        Field(strict=False, description="channels, height, width; folders: images are brought to it"),
    ]
    classes: Annotated[int, Field(ge=2, le=10**6)]
    images: Annotated[Count, Field(description="images before the split, the published test set not counted")]
    mirrors: Annotated[
        list[Mirror], Field(description="https://, http:// or file:// addresses, or folders; in order")
    ] = []
    archive: Annotated[
        dict[FileName, Checksum],
        Field(max_length=1, description="a tar or zip that holds the files, as mirrors serve them"),
    ] = {}
    files: Annotated[
        dict[FileName, Checksum],
        Field(description="path in the mirror: md5:... or sha256:...; those that a SHA256SUMS lists come with it"),
    ] = {}
    split: Split

    @property
    def train_images(self) -> int:
        """Images of the training part."""
        return self.images - self.split.held_out

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield the keys that break the rules of the format, each with the reason."""
        return problems(self.format, self.files, self.shape)


class Augmentation(Strict):
    """Training images moved at random: flipped, then turned about their centre, then shifted."""

    rotate: Annotated[float, Field(ge=0, le=180, description="degrees: the angle is uniform from -rotate to rotate")]
    shift: Annotated[
        float,
        Field(ge=0, lt=1, description="share of the width and, apart, of the height; uniform from -shift to shift"),
    ]
    flip: Annotated[bool, Field(description="half of the images, at random, have left and right exchanged")]
    copies: Annotated[
        Literal["online"] | Annotated[int, Field(ge=2, le=100)],
        Field(
            description="the training set made so many times as large, the originals among them; "
            "online: as large as it was, each epoch moved afresh"
        ),
    ]
    seed: Annotated[int, Field(ge=0, lt=2**31, description="decides the moves; online: with the run's own seed")]

    @property
    def times(self) -> int:
        """How many times as large the training set becomes."""
        return 1 if self.copies == "online" else self.copies
