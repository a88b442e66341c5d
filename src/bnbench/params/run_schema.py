"""Schema of the settings of one run: names, types, ranges and, as descriptions, their documentation.

`Settings`, `Axes` and `Columns` are parts of them, for bases and grids; `Where` and `Pick` select runs and rows.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, create_model

from bnbench.params.fields import Count, Fraction, Name, NotNegative, Positive, Ramp, Strict, distinct
from bnbench.params.layers import norms
from bnbench.params.layers.activations import ACTIVATIONS

# the values of `norm` and `activation` are the entries of their tables, which no static type can express
if TYPE_CHECKING:
    NormName = str
    ActivationName = str
else:
    NormName = Literal[tuple(norms.NORMS)]
    ActivationName = Literal[tuple(ACTIVATIONS)]
Population = Literal["moving", "last_epoch", "batch"]
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


class Constant(Strict):
    """A constant learning rate."""

    kind: Literal["constant"]


class Step(Strict):
    """Step schedule: from epoch `from_epoch[i]` on, the learning rate is `factor[i]` times the initial one."""

    kind: Literal["step"]
    from_epoch: Annotated[list[Count], Field(min_length=1, description="increasing epochs, counted from 1")]
    factor: Annotated[
        list[Positive], Field(min_length=1, description="one factor of the initial learning rate per epoch listed")
    ]


class Plateau(Strict):
    """Plateau schedule: reduce the learning rate after an epoch of higher training loss than the `window` before it."""

    kind: Literal["plateau"]
    factor: Annotated[float, Field(gt=0, lt=1, description="factor of the current learning rate")]
    window: Annotated[Count, Field(description="number of preceding epochs that the training loss is compared with")]


Schedule = Annotated[Constant | Step | Plateau, Field(discriminator="kind")]


class Run(Strict):
    """Resolved settings of one run: all values that decide its result and, with its data, its run id."""

    dataset: Annotated[Name, Field(description="a key of `datasets`")]
    train_images: Annotated[
        Count | None, Field(description="train on the first n training images of the split; null: on all")
    ]
    augmentation: Annotated[
        Name, Field(description="none, or a key of `augmentations`; applies to training images only")
    ]
    preprocessing: Annotated[
        Literal["raw", "unit", "center", "zscore", "standard", "pca", "zca"],
        Field(
            description="raw: pixels 0 to 255; unit: pixels / 255; zscore: minus the mean, divided by the standard "
            "deviation, per channel; center: pixels / 255 minus the mean per pixel; standard: the same, divided by the "
            "standard deviation per pixel; pca, zca: whitened, as principal components or rotated back to pixels. "
            "Means and standard deviations are those of the training images"
        ),
    ]
    model: Annotated[
        str,
        Field(
            max_length=200,
            description="shorthand of the layers. 784-100-10: 784 inputs, 100 hidden units, 10 outputs; "
            "32C5: 32 filters of 5x5; P2: 2x2 max pooling; 10D: 10 dense units; Dropout0.5; LRN: local response norm; "
            "64K-4C3B: 3 blocks of 4 conv layers 3x3 and a pool, 64 filters in the first block, doubled in each next",
        ),
    ]
    norm: Annotated[NormName, Field(description=norms.DESCRIPTION)]
    order: Annotated[
        Literal["pre", "post"], Field(description="position of the norm: before (pre) or after (post) the activation")
    ]
    norm_dense: Annotated[bool, Field(description="whether hidden dense layers of a conv net have the norm too")]
    norm_gamma: Annotated[
        Literal["learned"] | Positive,
        Field(description="scale after the norm: learned, initially 1, or a fixed number (1: no scale)"),
    ]
    norm_beta: Annotated[
        Literal["learned"] | float,
        Field(description="shift after the norm: learned, initially 0, or a fixed number (0: no shift)"),
    ]
    norm_epsilon: Annotated[Positive, Field(description="added to the variance before its square root")]
    norm_keep: Annotated[
        Fraction,
        Field(
            description="weight of the old value in running statistics, in [0, 1); PyTorch's momentum is 1 - norm_keep"
        ),
    ]
    population: Annotated[
        Population,
        Field(
            description="evaluation statistics of norms over a mini-batch. moving: running mean and variance; "
            "last_epoch: means over the mini-batches of the last epoch; batch: those of the images that are evaluated "
            "together, batch_size at a time"
        ),
    ]
    norm_groups: Annotated[Count, Field(description="group norm: number of groups that the channels are divided into")]
    norm_parts: Annotated[
        Count, Field(description="ghost norm: number of equal parts that a mini-batch is divided into")
    ]
    renorm_rmax: Annotated[
        float, Field(ge=1, description="batch renorm: limit of the scale correction, r in [1 / rmax, rmax]")
    ]
    renorm_dmax: Annotated[
        NotNegative, Field(description="batch renorm: limit of the shift correction, d in [-dmax, dmax]")
    ]
    renorm_rmax_ramp: Annotated[
        Ramp, Field(description="batch renorm: first and last epoch of the linear rise of the limit from 1 to rmax")
    ]
    renorm_dmax_ramp: Annotated[
        Ramp, Field(description="batch renorm: first and last epoch of the linear rise of the limit from 0 to dmax")
    ]
    lrn_size: Annotated[
        int, Field(ge=1, le=1000, description="local response norm: number of adjacent channels, itself included")
    ]
    lrn_alpha: Annotated[
        NotNegative, Field(description="local response norm: weight of the mean square over these channels")
    ]
    lrn_beta: Annotated[NotNegative, Field(description="local response norm: exponent of the divisor")]
    lrn_k: Annotated[Positive, Field(description="local response norm: constant added to the weighted mean square")]
    activation: Annotated[ActivationName, Field(description="activation of each hidden layer")]
    slope: Annotated[NotNegative, Field(description="leaky_relu: slope for negative inputs; prelu: its initial value")]
    init: Annotated[
        Literal["he", "glorot", "normal"],
        Field(
            description="Gaussian initial weights. Variance: he: 2 / fan_in; glorot: 2 / (fan_in + fan_out); "
            "normal: init_deviation squared"
        ),
    ]
    init_deviation: Annotated[Positive, Field(description="init: normal: standard deviation of the initial weights")]
    dropout: Annotated[
        Fraction, Field(description="probability of dropping a unit of a hidden dense layer in training, in [0, 1)")
    ]
    loss: Annotated[
        Literal["mean", "sum"], Field(description="cross-entropy of a mini-batch: mean or sum over its images")
    ]
    optimizer: Annotated[Literal["sgd", "adam"], Field(description="sgd: with momentum; adam: Kingma and Ba (2015)")]
    learning_rate: Annotated[Positive, Field(description="initial learning rate")]
    momentum: Annotated[Fraction, Field(description="sgd: momentum, in [0, 1); 0: none")]
    beta1: Annotated[Fraction, Field(description="adam: decay rate of the first moment estimate, in [0, 1)")]
    beta2: Annotated[Fraction, Field(description="adam: decay rate of the second moment estimate, in [0, 1)")]
    adam_epsilon: Annotated[Positive, Field(description="adam: constant added to the divisor")]
    weight_decay: Annotated[
        NotNegative, Field(description="L2 penalty: this times the weights is added to their gradient")
    ]
    schedule: Annotated[Schedule, Field(description="learning-rate schedule: `kind` and its settings")]
    batch_size: Annotated[
        Count, Field(description="images per mini-batch; the incomplete last mini-batch of an epoch is dropped")
    ]
    epochs: Annotated[Count, Field(description="epochs of training")]
    steps: Annotated[Count | None, Field(description="stop after this number of training steps; null: after `epochs`")]
    evaluate_every: Annotated[
        Literal["epoch"] | Count, Field(description="interval of evaluations: epoch, or a number of training steps")
    ]
    evaluate_test: Annotated[
        bool,
        Field(description="whether each evaluation covers the test set; otherwise it is evaluated once, at the end"),
    ]
    keep_weights: Annotated[
        Literal["last", "best"],
        Field(description="weights that are tested and saved: the last, or those of best validation accuracy"),
    ]
    save_weights: Annotated[bool, Field(description="whether the weights are saved in the run's folder")]
    patience: Annotated[
        Count | None,
        Field(description="early stopping: evaluations in a row without a new best validation accuracy; null: none"),
    ]
    probes: Annotated[
        list[ProbeName],
        AfterValidator(distinct),
        Field(description="further measurements during training, recorded in the table `probes`"),
    ]
    diverged_above: Annotated[
        Positive,
        Field(description="a run has diverged when its training loss exceeds this multiple of the loss at chance"),
    ]
    precision: Annotated[
        Literal["exact", "fast"],
        Field(description="exact: fp32 throughout; fast: operands of large matrix products in bf16"),
    ]
    backend: Annotated[
        Literal["torch", "numpy"],
        Field(description="torch: PyTorch; numpy: the reference implementation in fp64, for dense nets only"),
    ]
    seed: Annotated[
        int,
        Field(ge=0, lt=2**31, description="seed of initial weights, order of images, dropout and online augmentation"),
    ]


def _optional(name: str, doc: str, wrap: bool = False, unique: bool = False) -> type[Strict]:
    """Return a model with the fields of `Run`, all optional.

    Args:
        name: of the model.
        doc: its docstring.
        wrap: whether each field is a list of values, as an axis of a grid.
        unique: whether the values of a list have to be distinct.
    """
    fields: dict[str, Any] = {}
    for key, info in Run.model_fields.items():
        kind: Any = Annotated[info.annotation, *info.metadata, Field(discriminator=info.discriminator)]
        if wrap:
            kind = Annotated[list[kind], Field(min_length=1)]
        if unique:
            kind = Annotated[kind, AfterValidator(distinct)]
        fields[key] = (kind, Field(default=None, description=info.description))
    return create_model(name, __base__=Strict, __doc__=doc, **fields)


if TYPE_CHECKING:

    class Settings(Strict):
        """Any subset of a run's settings."""

    class Axes(Strict):
        """A list of values for each setting that varies."""

    class Columns(Strict):
        """Lists of values of equal length; their first values belong together, then the second, and so on."""

else:
    Settings = _optional("Settings", "Any subset of a run's settings.")
    Axes = _optional("Axes", "A list of values for each setting that varies.", wrap=True, unique=True)
    Columns = _optional(
        "Columns",
        "Lists of values of equal length; their first values belong together, then the second, and so on.",
        wrap=True,
    )


class Where(Settings):
    """Filter of runs: values of settings and of columns derived from them."""

    network: Annotated[str | None, Field(description="dense, conv, or the blocks of a net, as 4C3B")] = None


class Pick(Strict):
    """Filter of a probe's rows by column; columns that are not given are not filtered."""

    step: Annotated[int | Literal["last"] | None, Field(description="training step; last: of each run")] = None
    part: Annotated[str | None, Field(description="data that it was measured on: train, valid or test")] = None
    layer: Annotated[int | None, Field(description="linear or conv layer, counted from 1")] = None
    quantity: Annotated[str | list[str] | None, Field(description="quantity of the probe")] = None
    item: Annotated[int | None, Field(description="unit, percentile, image or class")] = None
    at: Annotated[float | None, Field(description="position on an axis: lower edge of a bin, class")] = None
