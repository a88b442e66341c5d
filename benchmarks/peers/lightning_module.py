"""Lightning: the plain network in a LightningModule, batches gathered from tensors in memory, all extras off."""

import logging
import warnings
from collections.abc import Iterator
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from benchmarks.peers import plain_torch, task

Batch = tuple[Tensor, Tensor]


class Batches(IterableDataset[Batch]):
    """Mini-batches of a part: shuffled without the incomplete last one, or in order with it."""

    def __init__(self, x: Tensor, y: Tensor, size: int, shuffled: bool) -> None:
        self.x, self.y, self.size, self.shuffled = x, y, size, shuffled

    def __iter__(self) -> Iterator[Batch]:
        if not self.shuffled:
            yield from zip(self.x.split(self.size), self.y.split(self.size), strict=True)
            return
        order = torch.randperm(len(self.x))[: len(self.x) // self.size * self.size]
        for index in order.split(self.size):
            yield self.x.index_select(0, index), self.y.index_select(0, index)


class Net(lightning.LightningModule):  # type: ignore[misc]
    """LightningModule of a run: network, loss, optimiser."""

    def __init__(self, run: task.Run) -> None:
        super().__init__()
        self.run, self.net = run, plain_torch.build(run)
        self.history: list[dict[str, float]] = []
        self.losses: list[Tensor] = []

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """Return the loss of a mini-batch."""
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        self.losses.append(loss.detach())
        return loss

    def validation_step(self, batch: Batch, _index: int) -> None:
        """Log loss and accuracy, which Lightning averages over the mini-batches."""
        self._measure(batch, "valid_")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log loss and accuracy, which Lightning averages over the mini-batches."""
        del batch_idx
        self._measure(batch, "")

    def on_train_epoch_end(self) -> None:
        """Append a row of history; the validation of this epoch is already done."""
        measured = {key: float(value) for key, value in self.trainer.callback_metrics.items()}
        self.history.append(
            {"epoch": self.current_epoch + 1, "train_loss": torch.stack(self.losses).mean().item(), **measured}
        )
        self.losses.clear()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser of plain PyTorch."""
        return plain_torch.optimizer(self.run, self.net)

    def _measure(self, batch: Batch, name: str) -> None:
        logits = self.net(batch[0])
        loss, correct = F.cross_entropy(logits, batch[1]), (logits.argmax(1) == batch[1]).float().mean()
        values = {f"{name}loss": loss, f"{name}accuracy": correct}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(batch[1]))


def train(run: task.Run) -> dict[str, Any]:
    """Train one run; return its history and results."""
    torch.manual_seed(run["seed"])
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings(
        "ignore", module="lightning"
    )  # it advises workers for the loader, which tensors in memory do not need
    net = Net(run)
    off = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary", "use_distributed_sampler"),
        False,
    )
    trainer = lightning.Trainer(max_epochs=run["epochs"], accelerator="cpu", num_sanity_val_steps=0, **off)
    fed = loader(run, "train", run["batch_size"], shuffled=True)
    trainer.fit(net, fed, loader(run, "valid", task.EVALUATED))
    result: dict[str, Any] = {"history": net.history}
    for name in task.FINAL:
        measured = trainer.test(net, loader(run, name, task.EVALUATED), verbose=False)[0]
        result |= {f"{name}_{what}": value for what, value in measured.items()}
    return result


def loader(run: task.Run, name: str, size: int, shuffled: bool = False) -> DataLoader[Batch]:
    """Return the mini-batches of a part, from this process: gathering rows is faster than sending them."""
    return DataLoader(Batches(*plain_torch.tensors(run, name), size, shuffled), batch_size=None)


if __name__ == "__main__":
    task.each(train)
