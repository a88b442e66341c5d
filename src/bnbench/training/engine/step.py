"""The training steps of a pack."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from bnbench.training import probes
from bnbench.training.arithmetic import kernels
from bnbench.training.engine import cuda_graphs, layer_programs, numpy_reference, step_program
from bnbench.training.nets.layers import Moment
from bnbench.training.nets.network import Network
from bnbench.training.pack import optimizers
from bnbench.training.pack.loss import cross_entropy
from bnbench.training.pack.pack import Pack


def advance(pack: Pack) -> None:
    """Train every run by one step or more, to the end of an interval or epoch at most."""
    if cuda_graphs.advance(pack, _torch_step):
        return
    if pack.stepper is None:
        pack.stepper = step_program.Tape(pack).advance if step_program.recordable(pack) and _agree(pack) else train_step
    pack.stepper(pack)


def _agree(pack: Pack) -> bool:
    """Whether a recorded step gives the same numbers as torch's operations.

    Tried on a run that is made up: the answer is that of the shape, whoever else is in the pack and at which step.
    """
    made, expected = pack.example(), pack.example()
    step_program.Tape(made).advance(made, 1)
    expected.bind()
    train_step(expected)
    pack.bind()
    pairs = [(array, expected.arrays[name]) for name, array in made.arrays.items() if name != "grads"]
    same = all(layer_programs.agree(pack.run, *pair) for pair in pairs)
    if not same:
        kernels.lacking[f"recorded steps of {pack.run.model}"] = "their numbers are not torch's"
    return same


def train_step(pack: Pack) -> None:
    """One step of every run: gather the images, train on them, note loss and right answers."""
    arrays = pack.arrays
    x, target = pack.batch(pack.step)
    pack.network.at(Moment(pack.seeds, pack.step, pack.epoch_steps))
    logits, loss = BACKENDS[pack.run.backend].step(pack, x, target)
    column = pack.step % pack.interval
    arrays["losses"][:, column] = loss
    arrays["correct"][:, column] = (logits.argmax(-1) == target.argmax(-1)).sum(1).float()
    arrays["epoch_loss"].add_(loss)
    pack.step += 1


def _torch_step(pack: Pack, x: Tensor, target: Tensor, count: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Forward, backward and update of every run: logits_RNK and loss_R of before the update.

    `count` is the number of steps with this one, where the pack's own number does not say.
    """
    run, arrays = pack.run, pack.arrays
    logits = pack.network.forward(x, training=True)
    loss, slope = cross_entropy(logits, target, run.loss == "mean")
    pack.network.backward(slope)
    probes.look(pack, "step")
    if run.weight_decay:
        arrays["grads"].add_(arrays["values"] * (pack.network.decayed(logits.device) * run.weight_decay))
    number = pack.step + 1 if count is None else count
    optimizers.OPTIMIZERS[run.optimizer][0](arrays, arrays["grads"], pack.rate, run, number)
    return logits, loss


@dataclass(frozen=True)
class Backend:
    """What trains: the networks of a pack, and a step on images x_RN... with their one-hot labels."""

    network: type[Network]
    step: Callable[[Pack, Tensor, Tensor], tuple[Tensor, Tensor]]


BACKENDS = {"torch": Backend(Network, _torch_step), "numpy": Backend(numpy_reference.HandNetwork, numpy_reference.step)}
