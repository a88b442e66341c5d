"""Plain PyTorch: one run, modules and optimiser from the library, batches gathered from tensors in memory."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.peers import task

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}


def build(run: task.Run) -> nn.Sequential:
    """Return the run's network with initial weights; hidden layers have no bias if batch norm would cancel it."""
    channels, height, width = run["shape"]
    norm, flat = run["norm"] == "batch", not task.convolves(run)
    features = channels * height * width if flat else channels
    parts: list[nn.Module] = []
    for index, (kind, size, *more) in enumerate(run["layers"]):
        last = index == len(run["layers"]) - 1
        if kind == "pool":
            parts.append(nn.MaxPool2d(size))
            height, width = height // size, width // size
            continue
        if kind == "conv":
            parts.append(nn.Conv2d(features, size, more[0], padding="same", bias=not norm))
        else:
            if not flat:
                parts.append(nn.Flatten())
                features, flat = features * height * width, True
            parts.append(nn.Linear(features, size, bias=last or not norm))
        features = size
        if norm and not last:
            make = nn.BatchNorm2d if kind == "conv" else nn.BatchNorm1d
            parts.append(make(features, run["norm_epsilon"], 1 - run["norm_keep"]))
        if not last:
            parts.append(ACTIVATIONS[run["activation"]]())
    net = nn.Sequential(*parts)
    for module in net:
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.normal_(module.weight, std=task.he_std(module.weight[0].numel()))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net


def optimizer(run: task.Run, net: nn.Module) -> torch.optim.Optimizer:
    """Return the run's optimiser, with PyTorch's defaults for everything that is not a setting."""
    if run["optimizer"] == "sgd":
        return torch.optim.SGD(net.parameters(), run["learning_rate"], run["momentum"])
    betas = run["beta1"], run["beta2"]
    return torch.optim.Adam(net.parameters(), run["learning_rate"], betas, run["adam_epsilon"])


def tensors(run: task.Run, name: str) -> tuple[Tensor, Tensor]:
    """Return images and labels of a part as tensors."""
    images, labels = task.part(run, name)
    return torch.from_numpy(images), torch.from_numpy(labels)


def step(net: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor) -> Tensor:
    """Update the network once; return the loss before the update."""
    loss = F.cross_entropy(net(x), y)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.detach()


@torch.no_grad()
def evaluate(net: nn.Module, x: Tensor, y: Tensor, name: str) -> task.Measured:
    """Return mean loss and accuracy on a part."""
    net.eval()
    logits = torch.cat([net(few) for few in x.split(task.EVALUATED)])
    net.train()
    correct = (logits.argmax(1) == y).float().mean()
    return {f"{name}_loss": F.cross_entropy(logits, y).item(), f"{name}_accuracy": correct.item()}


def train(run: task.Run) -> dict[str, Any]:
    """Train one run; return its history and results."""
    torch.manual_seed(run["seed"])
    parts = {name: tensors(run, name) for name in ("valid", *task.FINAL)}
    x, y = parts["train"]
    net = build(run)
    optimiser, size, history = optimizer(run, net), run["batch_size"], []
    for epoch in range(run["epochs"]):
        order = torch.randperm(len(x))[: len(x) // size * size]
        losses = [step(net, optimiser, x.index_select(0, i), y.index_select(0, i)) for i in order.split(size)]
        measured = {"epoch": epoch + 1, "train_loss": torch.stack(losses).mean().item()}
        history.append(measured | evaluate(net, *parts["valid"], "valid"))
    result: dict[str, Any] = {"history": history}
    for name in task.FINAL:
        result |= evaluate(net, *parts[name], name)
    return result


if __name__ == "__main__":
    task.each(train)
