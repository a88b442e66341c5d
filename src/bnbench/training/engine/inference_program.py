"""A pack's logits outside training by compiled calls, run by run.

A run goes through blocks of images alone, so that its weights and its layers' outputs stay in the core's cache.
"""

from typing import Any

from torch import Tensor

from bnbench.plan.programs import predicts_by_program
from bnbench.training.arithmetic import calls, kernels
from bnbench.training.arithmetic.calls import EachStep
from bnbench.training.engine.layer_programs import LAYERS, agree, recordable
from bnbench.training.engine.program import Program
from bnbench.training.engine.step import predict
from bnbench.training.pack.pack import Pack

BLOCK = 120  # images at a time: 784 inputs of them are 376 KB, and the rows fill whole blocks of a product


class CompiledPredictions:
    """Execution of forward passes outside training by compiled programs."""

    @staticmethod
    def fits(example: Pack) -> bool:
        """Return whether a compiled program gives the bits of torch's operations, tried on an example's images."""
        if not recordable(example) or not predicts_by_program(example.run):
            return False
        x = example.data["valid"].x[: example.chunk]
        example.network.bind(example.arrays["values"], example.arrays["moving"])
        same = agree(example.run, compiled(example, x), predict(example, x))
        if not same:
            kernels.lacking[f"compiled predictions of {example.run.model}"] = "their numbers are not torch's"
        return same

    def predict(self, pack: Pack, x_NHWC: Tensor) -> Tensor:
        """Return logits_RNK of images; of a single one by torch, whose sum may be in another order for one row."""
        return predict(pack, x_NHWC) if len(x_NHWC) == 1 else compiled(pack, x_NHWC)


def compiled(pack: Pack, x_NHWC: Tensor) -> Tensor:
    """Return logits_RNK of two images or more by compiled calls."""
    x, pool = x_NHWC.flatten(1), dict[int, list[Tensor]]()
    logits = x.new_empty(len(pack.names), len(x), pack.data["train"].target.shape[1])
    full = (len(x) // BLOCK - 1) * BLOCK if len(x) >= BLOCK else 0  # the rest has two images or more: see `predict`
    for values, moving, out in zip(*pack.network.bound, logits, strict=True):
        for part, size in ((slice(full), BLOCK), (slice(full, None), len(x) - full)):
            if len(x[part]):
                program = Program(pack.network, pack.run, size, {"values": values, "moving": moving}, pool)
                _forward(program, x[part].unflatten(0, (-1, size)), out[part].unflatten(0, (-1, size)))
    return logits


def _forward(program: Program, x_SNF: Tensor, out_SNK: Tensor) -> None:
    """Fill one run's logits of S blocks of images."""
    y: Any = EachStep(x_SNF)
    for index, layer in enumerate(program.network.layers):
        y, _ = LAYERS[type(layer)](program, index, layer, y)
    program.call("spread", [1, y.numel()], [y, EachStep(out_SNK)])
    calls.replay(program.calls, len(x_SNF))
