"""Settings of one run: names, types, ranges. Each field's description is its documentation."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

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
    norm: Annotated[NormName, Field(description=norms.DESCRIPTION)]
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
        Population,
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
    activation: ActivationName
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
        AfterValidator(distinct),
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
