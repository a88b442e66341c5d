"""Schema of data sets, their splits and augmentations."""

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
    """Split of a data set. It depends on its own `seed`, never on a run's."""

    valid: Annotated[
        Literal["test"] | Count,
        Field(description="validation images, stratified by class; test: the test images serve for validation too"),
    ]
    test: Annotated[
        Literal["official"] | Count,
        Field(
            description="official: the published test set; or a number of images, stratified by class. In that case "
            "a published test set is evaluated too, into the columns official_loss and official_accuracy"
        ),
    ]
    seed: Annotated[int, Field(ge=0, lt=2**32, description="seed of the split")]

    @property
    def held_out(self) -> int:
        """Number of images taken out of those published for training."""
        return sum(count for count in (self.valid, self.test) if isinstance(count, int))


FileName = Annotated[str, AfterValidator(plain)]

Mirror = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=2000)]

Checksum = Annotated[str, StringConstraints(pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")]


class Dataset(Strict):
    """Definition of a data set: source, checksums, expected content and split."""

    title: Annotated[str, Field(min_length=1, description="name in figures and reports")]
    format: Annotated[
        FormatName,
        Field(description="; ".join(f"{name}: {known.about}" for name, known in FORMATS.items())),
    ]
    licence: Annotated[str, Field(min_length=1, description="terms under which the data are published")]
    shape: Annotated[
        tuple[Count, Count, Count],
        Field(strict=False, description="channels, height, width of an image; folders: images are resized to it"),
    ]
    classes: Annotated[int, Field(ge=2, le=10**6, description="number of classes")]
    images: Annotated[Count, Field(description="number of images before the split, without a published test set")]
    mirrors: Annotated[
        list[Mirror], Field(description="https://, http:// or file:// addresses, or folders, tried in order")
    ] = []
    archive: Annotated[
        dict[FileName, Checksum],
        Field(
            max_length=1,
            description="tar or zip file that mirrors serve and that contains the files: name and checksum",
        ),
    ] = {}
    files: Annotated[
        dict[FileName, Checksum],
        Field(description="path in the mirror: md5:... or sha256:... Files listed in a SHA256SUMS need no entry"),
    ] = {}
    split: Annotated[Split, Field(description="training, validation and test images")]

    @property
    def train_images(self) -> int:
        """Number of training images."""
        return self.images - self.split.held_out

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield the keys that break the rules of the format, each with the reason."""
        return problems(self.format, self.files, self.shape)


class Augmentation(Strict):
    """Random geometric augmentation of training images: flip, then rotation about the centre, then translation."""

    rotate: Annotated[
        float, Field(ge=0, le=180, description="largest angle in degrees; angles are uniform in [-rotate, rotate]")
    ]
    shift: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="largest translation, as a fraction of width and of height; uniform in [-shift, shift]",
        ),
    ]
    flip: Annotated[bool, Field(description="whether images are mirrored left to right with probability 0.5")]
    copies: Annotated[
        Literal["online"] | Annotated[int, Field(ge=2, le=100)],
        Field(
            description="factor by which precomputed copies enlarge the training set, originals included; "
            "online: transformations are resampled every epoch and the size stays the same"
        ),
    ]
    seed: Annotated[
        int, Field(ge=0, lt=2**31, description="seed of the transformations; online: combined with the run's seed")
    ]

    @property
    def times(self) -> int:
        """Factor by which the training set grows."""
        return 1 if self.copies == "online" else self.copies
