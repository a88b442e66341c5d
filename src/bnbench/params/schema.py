"""What may stand in `params.yaml`: names, types, ranges. Each field's description is its documentation.

Combinations of values (a batch larger than its training set, say) are checked on resolved runs in `params`.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, create_model

from bnbench.core.names import plain

NO_AUGMENTATION = "none"
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]
Positive = Annotated[float, Field(gt=0)]
# abs: -0.0 is 0.0
NotNegative = Annotated[float, Field(ge=0), AfterValidator(abs)]
Fraction = Annotated[float, Field(ge=0, lt=1), AfterValidator(abs)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Ramp = Annotated[list[NotNegative], Field(min_length=2, max_length=2)]
ProbeName = Literal[
    "hyperplanes",
    "gradients",
    "smoothness",
    "outputs_histogram",
    "neurons",
    "percentiles",
    "activations",
    "drift",
    "one_by_one",
    "population",
    "dead_units",
]
CLASSES = "classes"  # of figures and published values, as a probe: the confusion matrix, which every run has
Work = Literal["A", "B", "C", "D", "E"]
Tier = Literal["quick", "small", "full"]


class Strict(BaseModel):
    """Unknown keys are refused, types are not converted, every number is finite, values cannot change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _distinct(values: list[Any]) -> list[Any]:
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


class Constant(Strict):
    """The learning rate stays what it is."""

    kind: Literal["constant"]


class Step(Strict):
    """The learning rate is `factor[i]` times the first one from epoch `from_epoch[i]` on (epochs count from 1)."""

    kind: Literal["step"]
    from_epoch: Annotated[list[Count], Field(min_length=1)]
    factor: Annotated[list[Positive], Field(min_length=1)]


class Plateau(Strict):
    """The learning rate shrinks by `factor` after an epoch whose training loss exceeds all of the last `window`."""

    kind: Literal["plateau"]
    factor: Annotated[float, Field(gt=0, lt=1)]
    window: Count


Schedule = Annotated[Constant | Step | Plateau, Field(discriminator="kind")]


class Run(Strict):
    """One training, fully resolved: the values that decide its result, and so its run id."""

    dataset: Annotated[Name, Field(description="a key of `datasets`")]
    train_images: Annotated[Count | None, Field(description="train on the first n of the split; null: on all")]
    augmentation: Annotated[Name, Field(description="none, or a key of `augmentations`")]
    preprocessing: Annotated[
        Literal["raw", "unit", "center", "zscore", "standard", "pca", "zca"],
        Field(
            description="raw: pixels 0..255; unit: pixels / 255; zscore: minus mean, over deviation of the training "
            "images, per channel; per input pixel, of pixels / 255: center: minus its mean; standard: also over its "
            "deviation; pca, zca: whitened, in the principal components or turned back to pixels"
        ),
    ]
    model: Annotated[
        str, Field(max_length=200, description="the field's shorthand: 784-100-10, 32C5-P2-64C7-P2-10D, ...")
    ]
    norm: Annotated[
        Literal["none", "batch", "center", "renorm", "ghost", "group", "layer", "local_response"],
        Field(description="normalisation of each hidden layer"),
    ]
    order: Annotated[Literal["pre", "post"], Field(description="norm before (pre) or after (post) the activation")]
    norm_dense: Annotated[bool, Field(description="false: hidden dense layers of a conv net have no norm")]
    norm_gamma: Annotated[
        Literal["learned"] | Positive, Field(description="scale after the norm: learned from 1 on, or fixed (1: none)")
    ]
    norm_beta: Annotated[
        Literal["learned"] | float, Field(description="shift after the norm: learned from 0 on, or fixed (0: none)")
    ]
    norm_epsilon: Annotated[Positive, Field(description="added to the variance")]
    norm_keep: Annotated[
        Fraction, Field(description="weight of the old moving average (PyTorch's momentum is 1 - norm_keep)")
    ]
    population: Annotated[
        Literal["moving", "last_epoch", "batch"],
        Field(
            description="statistics outside training, of norms over a batch: moving averages; means over the last "
            "epoch's batches; those of the images evaluated together, batch_size at a time"
        ),
    ]
    norm_groups: Annotated[Count, Field(description="group: groups of channels")]
    norm_parts: Annotated[Count, Field(description="ghost: parts that a batch is cut into")]
    renorm_rmax: Annotated[float, Field(ge=1, description="renorm: r in [1/rmax, rmax]")]
    renorm_dmax: Annotated[NotNegative, Field(description="renorm: d in [-dmax, dmax]")]
    renorm_rmax_ramp: Annotated[
        Ramp, Field(description="renorm: rmax is 1 before the first of these epochs and whole from the second on")
    ]
    renorm_dmax_ramp: Annotated[
        Ramp, Field(description="renorm: dmax is 0 before the first of these epochs and whole from the second on")
    ]
    lrn_size: Annotated[
        int, Field(ge=1, le=1000, description="local response norm: channels that it adds up, itself among them")
    ]
    lrn_alpha: Annotated[NotNegative, Field(description="local response norm: weight of their mean square")]
    lrn_beta: Annotated[NotNegative, Field(description="local response norm: the exponent")]
    lrn_k: Annotated[Positive, Field(description="local response norm: added to the mean square")]
    activation: Literal["relu", "leaky_relu", "prelu", "sigmoid", "tanh"]
    slope: Annotated[NotNegative, Field(description="leaky_relu's slope below zero; prelu's first one")]
    init: Annotated[
        Literal["he", "glorot", "normal"],
        Field(description="Gaussian weights; variance 2/fan_in, 2/(fan_in + fan_out) or init_deviation squared"),
    ]
    init_deviation: Annotated[Positive, Field(description="normal: deviation of the first weights")]
    dropout: Annotated[Fraction, Field(description="share of a hidden dense layer's units dropped in training")]
    loss: Annotated[Literal["mean", "sum"], Field(description="cross-entropy over a batch: its mean or its sum")]
    optimizer: Literal["sgd", "adam"]
    learning_rate: Positive
    momentum: Annotated[Fraction, Field(description="sgd")]
    beta1: Annotated[Fraction, Field(description="adam: keep of the gradient's moving average")]
    beta2: Annotated[Fraction, Field(description="adam: keep of the squared gradient's moving average")]
    adam_epsilon: Positive
    weight_decay: Annotated[NotNegative, Field(description="L2 penalty, added to the gradient of the weights")]
    schedule: Schedule
    batch_size: Annotated[
        Count, Field(description="images a step; the rest of an epoch that fills no batch is left out")
    ]
    epochs: Count
    steps: Annotated[Count | None, Field(description="end after so many steps; null: after all epochs")]
    evaluate_every: Annotated[
        Literal["epoch"] | Count, Field(description="a row of history per epoch, or per so many steps")
    ]
    evaluate_test: Annotated[bool, Field(description="history has the test set too; else it is seen once, at the end")]
    keep_weights: Annotated[
        Literal["last", "best"], Field(description="weights tested and kept: the last, or of best validation accuracy")
    ]
    save_weights: Annotated[bool, Field(description="true: the run's folder has the weights that are kept")]
    patience: Annotated[
        Count | None,
        Field(description="stop after so many evaluations in which validation accuracy has not risen; null: never"),
    ]
    probes: Annotated[
        list[ProbeName],
        AfterValidator(_distinct),
        Field(description="what is measured besides loss and accuracy: rows of the table `probes`"),
    ]
    diverged_above: Annotated[
        Positive, Field(description="a run has diverged when its loss exceeds so many times that of chance")
    ]
    precision: Annotated[
        Literal["exact", "fast"], Field(description="exact: fp32 throughout; fast: factors of large products in bf16")
    ]
    backend: Annotated[
        Literal["torch", "numpy"],
        Field(description="torch: PyTorch's kernels; numpy: the hand-written reference, fp64, dense nets alone"),
    ]
    seed: Annotated[int, Field(ge=0, lt=2**31, description="decides weights, data order and dropout, nothing else")]


def _optional(name: str, doc: str, wrap: bool = False, distinct: bool = False) -> type[Strict]:
    """A model with Run's fields, none required; `wrap`: a list of values for each, as an axis of a grid."""
    fields: dict[str, Any] = {}
    for key, info in Run.model_fields.items():
        kind: Any = Annotated[info.annotation, *info.metadata, Field(discriminator=info.discriminator)]
        if wrap:
            kind = Annotated[list[kind], Field(min_length=1)]
        if distinct:
            kind = Annotated[kind, AfterValidator(_distinct)]
        fields[key] = (kind, Field(default=None, description=info.description))
    return create_model(name, __base__=Strict, __doc__=doc, **fields)


if TYPE_CHECKING:

    class Settings(Strict):
        """Some of a run's settings."""

    class Axes(Strict):
        """Lists of values, a list for each setting that varies."""

    class Columns(Strict):
        """Lists of values of one length, joined row by row."""

else:
    Settings = _optional("Settings", "Some of a run's settings.")
    Axes = _optional("Axes", "Lists of values, a list for each setting that varies.", wrap=True, distinct=True)
    Columns = _optional("Columns", "Lists of values of one length, joined row by row.", wrap=True)


class Where(Settings):
    """Values by which runs are chosen: of settings, and of what follows from them."""

    network: Annotated[str | None, Field(description="dense, conv, or a net's blocks, as 4C3B")] = None


class Grid(Strict):
    """Which runs a study makes: (zip or around) x product, without exclude, with include."""

    product: Annotated[Axes | None, Field(description="every combination")] = None
    zip: Annotated[Columns | None, Field(description="first with first, second with second, ...")] = None
    around: Annotated[
        Axes | None,
        Field(description="the base itself, then each value alone: one setting at a time"),
    ] = None
    exclude: Annotated[list[Settings], Field(description="drop the runs that have all of an item's values")] = []
    include: Annotated[list[Axes], Field(description="further runs: a product each, around the base")] = []


class Pick(Strict):
    """Which rows of a probe are meant; what is not named may be any."""

    step: int | Literal["last"] | None = None
    part: str | None = None
    layer: int | None = None
    quantity: str | list[str] | None = None
    item: int | None = None
    at: float | None = None


class Measure(Strict):
    """Something measured of a study's runs: a column of the tables, or rows of a probe."""

    y: Annotated[
        str | list[str] | None,
        Field(description="a column of the tables, for curves also several; with a probe, what its values are called"),
    ] = None
    probe: Annotated[
        str | None,
        Field(description="a probe that the study's runs record; classes: the confusion matrix, which every run has"),
    ] = None
    pick: Annotated[Pick, Field(description="which rows of the probe")] = Field(default_factory=Pick)
    where: Annotated[Where, Field(description="only the runs with these values")] = Field(default_factory=Where)


FigureKind = Literal["curves", "sweep", "ridges", "heatmap", "hyperplanes", "predictions", "networks", "confusion"]


class Figure(Measure):
    """One figure of a study, drawn from the tables."""

    kind: Annotated[
        FigureKind,
        Field(
            description="curves: over training; sweep: over a setting; heatmap: over two; ridges: histograms over"
            " training; hyperplanes: first-layer units in a plane of the inputs; predictions: digit by digit;"
            " networks: layers, shapes, parameters; confusion: true against predicted class"
        ),
    ]
    title: Annotated[str, Field(min_length=1)]
    x: Annotated[str | None, Field(description="sweep, heatmap: the setting on the x axis")] = None
    against: Annotated[str | None, Field(description="heatmap: the setting on the y axis")] = None
    hue: Annotated[str | None, Field(description="the setting shown by colour")] = None
    col: Annotated[str | None, Field(description="the setting shown by columns of panels")] = None
    row: Annotated[str | None, Field(description="the setting shown by rows of panels")] = None
    log: Annotated[bool | None, Field(description="a logarithmic y axis; null: where losses span decades")] = None
    low: Annotated[float | None, Field(description="curves: where the y axis begins; null: below all")] = None
    within: Annotated[
        Positive | None,
        Field(description="sweep: mark the range of x in which no run fails and the mean is so near its best"),
    ] = None


class Published(Measure):
    """A published value, put beside what the study's runs gave."""

    what: Annotated[str, Field(min_length=1, description="the quantity, in words")]
    value: Annotated[
        float | list[float],
        Field(description="as published; a list: one for each value of `by`, or the ends of a usable range"),
    ]
    x: Annotated[
        Literal["learning_rate", "batch_size"] | None, Field(description="of a usable range: what it is a range of")
    ] = None
    within: Annotated[Positive | None, Field(description="of a usable range: how near the mean is to its best")] = None
    by: Annotated[
        Literal["step", "part", "layer", "quantity", "item"] | None, Field(description="along which a list goes")
    ] = None


class Variant(Strict):
    """What a tier changes in a study. Mappings are merged; a list replaces the list of that name."""

    base: Settings = Field(default_factory=Settings)
    grid: Grid = Field(default_factory=Grid)


class Study(Strict):
    """A question, a base configuration, a grid, figures."""

    title: Annotated[str, Field(min_length=1)]
    question: Annotated[str, Field(min_length=1)]
    work: Annotated[Work, Field(description="the published work that it repeats")]
    base: Settings = Field(default_factory=Settings)
    grid: Grid
    tiers: Annotated[dict[Tier, Variant], Field(description="what each tier changes")] = {}
    figures: dict[Name, Figure] = {}
    published: Annotated[list[Published], Field(description="published values, in the report beside ours")] = []


class TierSettings(Strict):
    """How big the studies are run."""

    about: Annotated[str, Field(min_length=1)]
    base: Annotated[Settings, Field(description="settings of every study in this tier")] = Field(
        default_factory=Settings
    )


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
        Literal["digits", "idx", "cifar", "folders"],
        Field(
            description="digits: comes with scikit-learn; idx: as MNIST; cifar: the batches of CIFAR-10; "
            "folders: a folder of images for each class, listed in SHA256SUMS, or in a zip or tar"
        ),
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


def _no_none(augmentations: dict[str, Augmentation]) -> dict[str, Augmentation]:
    if NO_AUGMENTATION in augmentations:
        raise ValueError(f"{NO_AUGMENTATION!r} says that images are left as they are; choose another name")
    return augmentations


class Params(Strict):
    """The whole of `params.yaml`."""

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
