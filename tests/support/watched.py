"""Observed training: the same network at chosen steps as torch.nn modules in float64."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnbench.data.prepared import Part
from bnbench.data.random_streams import order
from bnbench.params.run_schema import Run
from bnbench.training.engine import compiled_steps
from bnbench.training.pack.pack import Outcome, Pack, Probed
from bnbench.training.train import start, train
from tests.support import reference
from tests.support.little import digits

SHAPE = (1, 8, 8)


@dataclass
class Watched:
    """A run's outcome, and its network after each chosen step."""

    outcome: Outcome
    nets: dict[int, nn.Sequential] = field(default_factory=dict)
    moving: dict[int, list[Tensor]] = field(default_factory=dict)

    def rows(self, probe: str, **where: Any) -> list[dict[str, Any]]:
        """Return the rows recorded by a probe that have these values."""
        named = [as_row(row) for row in self.outcome.probed if row[0] == probe]
        return [row for row in named if all(row[name] == value for name, value in where.items())]

    def value(self, probe: str, **where: Any) -> float:
        """Return the single value recorded by a probe in the row with these values."""
        (row,) = self.rows(probe, **where)
        return float(row["value"])


def as_row(row: Probed) -> dict[str, Any]:
    names = ("probe", "step", "epoch", "part", "layer", "quantity", "item", "at", "value")
    return dict(zip(names, row, strict=True))


def module(pack: Pack, row: int) -> nn.Sequential:
    """Return the network of one run of a pack, with its running statistics."""
    net = reference.modules(pack.runs[row], SHAPE)
    reference.load(net, pack.network, row)
    moved = [array[row, 0].double() for layer in pack.network.layers for array in layer.statistics.values()]
    for into, value in zip(reference.moving(net), moved, strict=True):
        into.copy_(value)
    return net.eval()


def watched(settings: Run, *steps: int) -> Watched:
    """Train a run and save a copy of its network after each of these steps."""
    outcomes: list[Outcome] = []
    nets: dict[int, nn.Sequential] = {}
    pack = start(["0" * 16], [settings], digits())
    if 0 in steps:
        pack.bind()
        nets[0] = module(pack, 0)

    def watch(pack: Pack) -> None:
        if pack.step in steps:
            nets[pack.step] = module(pack, 0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled_steps, "BLOCK_SECONDS", 0.0)  # blocks of one step
        train(pack, watch, outcomes.append)
    moving = {step: [array.clone() for array in reference.moving(net)] for step, net in nets.items()}
    return Watched(outcomes[0], nets, moving)


def images(part: Part, count: int | None = None) -> Tensor:
    """Convert images to pixels 0..1 of N x C x H x W in float64."""
    return torch.from_numpy(part.images[:count]).double() / 255


def batch(settings: Run, step: int) -> tuple[Tensor, Tensor]:
    """Return images and labels of a run's mini-batch at a step, counted from 0."""
    count = settings.train_images or len(digits().train.labels)
    size, epoch_steps = settings.batch_size, count // settings.batch_size
    place = step % epoch_steps
    chosen = order(settings.seed, step // epoch_steps, count)[place * size : (place + 1) * size]
    return images(digits().train)[chosen], torch.from_numpy(digits().train.labels)[chosen]


def inside(net: nn.Sequential, x: Tensor) -> list[Tensor]:
    """Return each module's output; of conv layers as (N, H, W, C)."""
    outputs = []
    for part in net:
        x = part(x)
        outputs.append(x.detach().movedim(1, -1) if x.dim() == 4 else x.detach())
    return outputs


def own(net: nn.Sequential, x: Tensor) -> Tensor:
    """Return logits with each norm using this batch's own statistics, also for a batch of one."""
    for part in net:
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            over = (0, 2, 3) if x.dim() == 4 else (0,)
            mean, variance = x.mean(over, keepdim=True), x.var(over, keepdim=True, correction=0)
            shape = (1, -1, *[1] * (x.dim() - 2))
            x = (x - mean) / (variance + part.eps).sqrt() * part.weight.view(shape) + part.bias.view(shape)
        else:
            x = part(x)
    return x
