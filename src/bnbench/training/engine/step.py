"""Training steps and predictions executed operation by operation: by torch, or by the NumPy reference.

They execute every pack on every device; the faster ways of this folder must give the same numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from bnbench.training import probes
from bnbench.training.engine import numpy_reference
from bnbench.training.nets.layers import Moment
from bnbench.training.nets.network import Network
from bnbench.training.pack import optimizers
from bnbench.training.pack.loss import torchs as cross_entropy
from bnbench.training.pack.pack import Pack


class Operations:
    """Execution of a pack operation by operation, with nothing recorded."""

    name = "single operations"

    def step(self, pack: Pack) -> None:
        """Train every run by one step."""
        train_step(pack)

    def predict(self, pack: Pack, x_NHWC: Tensor) -> Tensor:
        """Return logits_RNK of images, with the weights that the network is bound to."""
        return predict(pack, x_NHWC)


def train_step(pack: Pack) -> None:
    """Train every run by one step on its mini-batch, and note loss and number of correct predictions."""
    arrays = pack.arrays
    x, target = pack.batch(pack.step)
    pack.network.at(Moment(pack.seeds, pack.step, pack.epoch_steps))
    logits, loss = BACKENDS[pack.run.backend].step(pack, x, target)
    column = pack.step % pack.interval
    arrays["losses"][:, column] = loss
    arrays["correct"][:, column] = (logits.argmax(-1) == target.argmax(-1)).sum(1).float()
    arrays["epoch_loss"].add_(loss)
    pack.step += 1


def predict(pack: Pack, x_NHWC: Tensor) -> Tensor:
    """Return logits_RNK of images by the network's own forward pass, outside training."""
    return pack.network.forward(x_NHWC.expand(len(pack.names), *x_NHWC.shape))


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


@dataclass(frozen=True)
class Backend:
    """Networks of a pack, and a training step of them on images x_RN... with one-hot labels."""

    network: type[Network]
    step: Callable[[Pack, Tensor, Tensor], tuple[Tensor, Tensor]]


BACKENDS = {"torch": Backend(Network, torch_step), "numpy": Backend(numpy_reference.HandNetwork, numpy_reference.step)}
