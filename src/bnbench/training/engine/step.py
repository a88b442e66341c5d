"""Training steps executed operation by operation: by torch, or by the NumPy reference.

They execute every pack on every device. With a `CompiledNetwork` the operations are compiled calls, and a step is the
same bytes as in a compiled program; it leaves the gradients behind, which probes read.
"""

from collections.abc import Callable

from torch import Tensor

from bnbench.training import probes
from bnbench.training.engine import numpy_reference
from bnbench.training.nets.layers import Moment
from bnbench.training.pack import optimizers
from bnbench.training.pack.loss import torchs as cross_entropy
from bnbench.training.pack.pack import Pack


class Operations:
    """Execution of a pack operation by operation, with nothing recorded."""

    name = "single operations"

    def step(self, pack: Pack) -> None:
        """Train every run by one step."""
        train_step(pack)


def train_step(pack: Pack) -> None:
    """Train every run by one step on its mini-batch, and note loss and number of correct predictions."""
    arrays = pack.arrays
    x, target = pack.batch(pack.step)
    pack.network.at(Moment(pack.seeds, pack.step, pack.epoch_steps))
    logits, loss = BACKENDS[pack.run.backend](pack, x, target)
    column = pack.step % pack.interval
    arrays["losses"][:, column] = loss
    arrays["correct"][:, column] = (logits.argmax(-1) == target.argmax(-1)).sum(1).float()
    arrays["epoch_loss"].add_(loss)
    pack.step += 1


def torch_step(pack: Pack, x: Tensor, target: Tensor, count: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Run forward pass, backward pass and weight update of every run.

    Args:
        pack: the runs.
        x: images of each run, (R, N, ...).
        target: one-hot labels, (R, N, classes).
        count: number of this step, from 1, as an array, where `pack.step` cannot be used: in a CUDA graph.

    Returns:
        logits_RNK and loss_R, both of before the update.
    """
    run, arrays = pack.run, pack.arrays
    logits = pack.network.forward(x, training=True)
    loss, gradient = cross_entropy(logits, target, run.loss == "mean")
    pack.network.backward(gradient)
    probes.look(pack, "step")
    if run.weight_decay:
        arrays["grads"].add_(arrays["values"] * (pack.network.decayed(logits.device) * run.weight_decay))
    number = pack.step + 1 if count is None else count
    optimizers.OPTIMIZERS[run.optimizer][0](arrays, arrays["grads"], pack.rate, run, number)
    return logits, loss


# backend of a run -> a training step on images x_RN... with one-hot labels
BACKENDS: dict[str, Callable[[Pack, Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "torch": torch_step,
    "numpy": numpy_reference.step,
}
