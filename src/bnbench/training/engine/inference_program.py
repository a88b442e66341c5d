"""A pack's logits of images outside training: by recorded calls where its layers' are known, else by torch.

A run goes through blocks of images alone, so that its weights and what its layers give stay in the core's cache.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from bnbench.plan.programs import predicts_by_program
from bnbench.training.arithmetic import calls, kernels
from bnbench.training.arithmetic.calls import EachStep
from bnbench.training.engine.layer_programs import RECORDED, agree, recordable
from bnbench.training.engine.program import Recorder
from bnbench.training.pack.pack import Pack

BLOCK = 120  # images at a time: 784 inputs of them are 376 KB, and the rows fill whole blocks of a product

Forward = Callable[[Pack, Tensor], Tensor]


def forward(pack: Pack, x_NHWC: Tensor) -> Tensor:
    """The logits_RNK of these images, by the network as it is bound. A product of one row may be summed otherwise."""
    if len(x_NHWC) == 1:
        return plain(pack, x_NHWC)
    if pack.forward is None:
        pack.forward = _chosen(pack)
    return pack.forward(pack, x_NHWC)


def _chosen(pack: Pack) -> Forward:
    """How images pass: as recorded, if a made-up run of this shape gets the numbers of torch so."""
    if not recordable(pack) or not predicts_by_program(pack.run):
        return plain
    one, network, x = pack.example(), pack.network, pack.data["valid"].x[: pack.chunk]
    bound = network.bound
    network.bind(one.arrays["values"], one.arrays["moving"])
    same = agree(pack.run, recorded(one, x), plain(one, x))
    network.bind(*bound)
    if same:
        return recorded
    kernels.lacking[f"recorded passes of {pack.run.model}"] = "their numbers are not torch's"
    return plain


def plain(pack: Pack, x_NHWC: Tensor) -> Tensor:
    """By torch's operations."""
    return pack.network.forward(x_NHWC.expand(len(pack.names), *x_NHWC.shape))


def recorded(pack: Pack, x_NHWC: Tensor) -> Tensor:
    """By recorded calls, run by run."""
    x, pool = x_NHWC.flatten(1), dict[int, list[Tensor]]()
    logits = x.new_empty(len(pack.names), len(x), pack.data["train"].target.shape[1])
    whole = (len(x) // BLOCK - 1) * BLOCK if len(x) >= BLOCK else 0  # a product of one row is summed otherwise
    for values, moving, out in zip(*pack.network.bound, logits, strict=True):
        for part, size in ((slice(whole), BLOCK), (slice(whole, None), len(x) - whole)):
            if len(x[part]):
                tape = Recorder(pack.network, pack.run, size, {"values": values, "moving": moving}, pool)
                _pass(tape, x[part].unflatten(0, (-1, size)), out[part].unflatten(0, (-1, size)))
    return logits


def _pass(tape: Recorder, x_SNF: Tensor, out_SNK: Tensor) -> None:
    """One run's logits of steps of images."""
    y: Any = EachStep(x_SNF)
    for index, layer in enumerate(tape.network.layers):
        y, _ = RECORDED[type(layer)](tape, index, layer, y)
    tape.call("spread", [1, y.numel()], [y, EachStep(out_SNK)])
    calls.replay(tape.calls, len(x_SNF))
