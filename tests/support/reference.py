"""Reference implementation of the networks: torch.nn modules, one run, automatic differentiation."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bnbench.params import architecture
from bnbench.params.run_schema import Run
from bnbench.training.nets.network import Network

ACTIVATIONS: dict[str, Callable[[int, Run], nn.Module]] = {
    "relu": lambda _channels, _run: nn.ReLU(),
    "leaky_relu": lambda _channels, run: nn.LeakyReLU(run.slope),
    "prelu": lambda channels, run: nn.PReLU(channels, run.slope),
    "sigmoid": lambda _channels, _run: nn.Sigmoid(),
    "tanh": lambda _channels, _run: nn.Tanh(),
}


class ChannelsLast(nn.Module):
    """Flatten layer with the channels last, as in bnbench."""

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(1, -1).flatten(1) if x.dim() == 4 else x


def modules(run: Run, shape: architecture.Shape) -> nn.Sequential:
    """Return the modules of a run, for images N x C x H x W; dropout must be off."""
    channels, height, width = shape
    parts: list[nn.Module] = []

    def hidden(features: int, norm: type[nn.BatchNorm1d] | type[nn.BatchNorm2d]) -> list[nn.Module]:
        norms = [norm(features, run.norm_epsilon, 1 - run.norm_keep)] if run.norm == "batch" else []
        act = [ACTIVATIONS[run.activation](features, run)]
        return [*norms, *act] if run.order == "pre" else [*act, *norms]

    layers = architecture.parse(run.model).layers
    bias = run.norm == "none" or run.order == "post"
    flat = 0
    for layer in layers:
        if isinstance(layer, architecture.Conv):
            conv = nn.Conv2d(channels, layer.filters, layer.size, padding="same", bias=bias)
            parts += [conv, *hidden(layer.filters, nn.BatchNorm2d)]
            channels = layer.filters
        elif isinstance(layer, architecture.Pool):
            parts.append(nn.MaxPool2d(layer.size))
            height, width = height // layer.size, width // layer.size
        elif isinstance(layer, architecture.Dense):
            if not flat:
                parts.append(ChannelsLast())
                flat = channels * height * width
            last = layer is layers[-1]
            parts.append(nn.Linear(flat, layer.units, bias=bias or last))
            parts += [] if last else hidden(layer.units, nn.BatchNorm1d)
            flat = layer.units
    return nn.Sequential(*parts).double()


def load(net: nn.Sequential, network: Network, row: int) -> None:
    """Load the weights of one run of a network into `net`."""
    learned = [module for module in net if list(module.parameters())]
    for module, layer in zip(learned, [layer for layer in network.layers if layer.weights], strict=True):
        values = {name: value[row].double() for name, value in layer.values.items()}
        targets = dict(module.named_parameters())
        for name, value in zip(("weight", "bias"), _as_torch(module, values), strict=False):
            if name in targets:
                targets[name].data.copy_(value)


def _as_torch(module: nn.Module, values: dict[str, Tensor]) -> list[Tensor]:
    """Convert a layer's arrays to PyTorch's layout (weight, bias)."""
    if isinstance(module, nn.Linear):
        arrays = [values["weight"].T]
    elif isinstance(module, nn.Conv2d):
        arrays = [values["weight"].permute(3, 2, 0, 1)]
    elif isinstance(module, nn.PReLU):
        arrays = [values["slope"][0]]
    else:
        arrays = [values["gamma"][0], values["beta"][0]]
    return [*arrays, values["bias"][0]] if "bias" in values else arrays


def gradients(net: nn.Sequential) -> list[Tensor]:
    """Return all gradients in the layout and order of bnbench's layers."""
    out: list[Tensor] = []
    for module in net:
        for name, parameter in module.named_parameters():
            grad = parameter.grad
            assert grad is not None
            if isinstance(module, nn.Linear) and name == "weight":
                grad = grad.T
            elif isinstance(module, nn.Conv2d) and name == "weight":
                grad = grad.permute(2, 3, 1, 0)
            out.append(grad)
    return out


def moving(net: nn.Sequential) -> list[Tensor]:
    """Return running means and variances, in order."""
    norms = [module for module in net if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))]
    return [array for norm in norms for array in (norm.running_mean, norm.running_var) if array is not None]


def double(network: Network, seeds: list[int]) -> dict[str, Tensor]:
    """Return the arrays of a network in float64, bound to it."""
    values, statistics = (rows.double() for rows in network.start(seeds))
    arrays = {"values": values, "moving": statistics, "grads": torch.zeros_like(values)}
    network.bind(arrays["values"], arrays["moving"], arrays["grads"])
    return arrays
