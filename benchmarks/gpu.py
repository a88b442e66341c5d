"""Timing of training steps on a GPU: packs of runs against a plain loop with torch.nn, one run at a time.

    make bench-gpu ARGS="--batches 16 --runs 1 16 --rounds 3"

See benchmarks/README.md.
"""

import argparse
import re
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.arithmetic import spread
from benchmarks.grids import ROOT
from bnbench.core import yaml_reader
from bnbench.core.atomic import write_bytes
from bnbench.core.files import write_json
from bnbench.data.prepared import Part, Prepared
from bnbench.params import architecture
from bnbench.params.run_schema import Run
from bnbench.plan import cost
from bnbench.training.engine import cuda_graphs
from bnbench.training.engine.choose import choose
from bnbench.training.kernels import convolutions, gpu, loops
from bnbench.training.train import start

RESULTS = ROOT / "benchmarks" / "results"
DEVICE = "cuda:0"
MODEL = "64K-4C3B-256D-Dropout0.5-10D"
SHAPE, CLASSES, IMAGES = (3, 32, 32), 10, 20_000
WARM = 8  # warm-up steps: forms of convolution are measured, the graph is captured
SIDE = 8192  # rows and columns of the matrices whose product measures the peak
Step = Callable[[], object]


@dataclass
class Measured:
    """Images per second in each round: of one run by the plain loop, and of all runs of a pack together."""

    model: str
    batch: int
    runs: int
    plain: list[float] = field(default_factory=list)
    pack: list[float] = field(default_factory=list)
    graph: bool = False
    note: str = ""


def main() -> None:
    """Time each batch size and number of runs, print the table, write it to `benchmarks/results/`."""
    arguments = parser().parse_args()
    if not torch.cuda.is_available():
        sys.exit(f"benchmarks.gpu: torch {torch.__version__} sees no GPU here; run it where there is one")
    gpu.ready(DEVICE)
    peak = measured_peak(torch.bfloat16 if arguments.precision == "fast" else torch.float32)
    data, rows = made_up(), []
    for model, batch, runs in shapes(arguments):
        rows.append(compared(model, batch, runs, data, arguments))
        write(rows, peak, arguments.precision)
        print(line(rows[-1], peak), flush=True)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--models", nargs="+", default=[MODEL], help="(%(default)s)")
    options.add_argument("--batches", nargs="+", type=int, default=[16, 128, 256], help="batch sizes (%(default)s)")
    options.add_argument("--runs", nargs="+", type=int, default=[1, 4, 16], help="runs at once (%(default)s)")
    options.add_argument("--norm", default="batch", help="norm; the plain loop has batch or none (%(default)s)")
    options.add_argument("--precision", choices=["fast", "exact"], default="fast", help="bf16 or fp32 (%(default)s)")
    options.add_argument("--rounds", type=int, default=5, help="rounds, each with both in turn (%(default)s)")
    options.add_argument("--steps", type=int, default=50, help="steps per timing (%(default)s)")
    return options


def shapes(arguments: argparse.Namespace) -> Iterator[tuple[str, int, int]]:
    """Yield model, batch size and number of runs of each row."""
    for model in arguments.models:
        for batch in arguments.batches:
            for runs in arguments.runs:
                yield model, batch, runs


def made_up() -> Prepared:
    """Return random images of CIFAR's shape, as prepared data."""
    dice = np.random.default_rng(0)
    sizes = {"train": IMAGES, "valid": 64, "test": 64}
    pixels = {name: dice.integers(0, 256, (count, *SHAPE), dtype=np.uint8) for name, count in sizes.items()}
    parts = {name: Part(x, dice.integers(0, CLASSES, len(x))) for name, x in pixels.items()}
    return Prepared("noise", "0" * 16, CLASSES, SHAPE, parts["train"], parts["valid"], parts["test"])


def compared(model: str, batch: int, runs: int, data: Prepared, arguments: argparse.Namespace) -> Measured:
    """Measure both programs in turn, each round, and return the row."""
    torch.cuda.empty_cache()
    row = Measured(model, batch, runs)
    settings = dict(yaml_reader.read(ROOT / "params.yaml").values["training"]) | {"model": model, "batch_size": batch}
    settings |= {"norm": arguments.norm, "activation": "leaky_relu", "optimizer": "adam", "learning_rate": 1e-4}
    run = Run.model_validate(settings | {"precision": arguments.precision, "dropout": 0, "epochs": 10**6})
    try:
        packed, recorded = pack_step(run, runs, data)
        plain = plain_step(run, data)
        warm(packed, plain)
        for _ in range(arguments.rounds):
            row.plain.append(rate(plain, batch, arguments.steps))
            row.pack.append(rate(packed, batch * runs, arguments.steps))
        row.graph = recorded()
    except torch.OutOfMemoryError:
        row.note = "no memory"
    return row


def pack_step(run: Run, runs: int, data: Prepared) -> tuple[Step, Callable[[], bool]]:
    """Return a training step of a pack with one seed per run, and a function that returns whether it is a graph."""
    names, each = [str(i) for i in range(runs)], [run.model_copy(update={"seed": i}) for i in range(runs)]
    pack = start(names, each, data, DEVICE)
    engine = choose(pack)

    def recorded() -> bool:
        return isinstance(engine.steps, cuda_graphs.GraphSteps) and engine.steps.replays

    return lambda: engine.step(pack), recorded


def plain_step(run: Run, data: Prepared) -> Step:
    """Return a training step of a plain loop: torch.nn, torch.optim, autocast, channels last, data on the device."""
    net = modules(run).to(DEVICE)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs have it for tensors alone
    optimiser = torch.optim.Adam(net.parameters(), run.learning_rate)
    images = torch.from_numpy(data.train.images).float().div(255).to(DEVICE)
    labels = torch.from_numpy(data.train.labels).to(DEVICE)
    batches = _batches(len(labels), run.batch_size)

    def step() -> None:
        index = next(batches)
        x = images[index].contiguous(memory_format=torch.channels_last)
        with torch.autocast(torch.device(DEVICE).type, torch.bfloat16, enabled=run.precision == "fast"):
            loss = nn.functional.cross_entropy(net(x), labels[index])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def _batches(images: int, size: int) -> Iterator[Tensor]:
    while True:
        yield from torch.randperm(images, device=DEVICE)[: images // size * size].split(size)


def modules(run: Run) -> nn.Sequential:
    """Return the run's network as torch.nn modules, with their default initial weights."""
    channels, height, width = SHAPE
    parts: list[nn.Module] = []
    normed, layers = run.norm != "none", architecture.parse(run.model).layers
    for layer in layers:
        if isinstance(layer, architecture.Conv):
            parts.append(nn.Conv2d(channels, layer.filters, layer.size, padding="same", bias=not normed))
            channels = layer.filters
            parts += [nn.BatchNorm2d(channels)] * normed + [nn.LeakyReLU(run.slope)]
        elif isinstance(layer, architecture.Pool):
            parts.append(nn.MaxPool2d(layer.size))
            height, width = height // layer.size, width // layer.size
        elif isinstance(layer, architecture.Drop):
            parts.append(nn.Dropout(layer.rate))
        elif isinstance(layer, architecture.Dense):
            inputs, last = channels * height * width, layer is layers[-1]
            parts += [nn.Flatten()] * (not any(isinstance(part, nn.Flatten) for part in parts))
            parts.append(nn.Linear(inputs, layer.units, bias=last or not normed))
            parts += [] if last else [nn.BatchNorm1d(layer.units)] * normed + [nn.LeakyReLU(run.slope)]
            channels, height, width = layer.units, 1, 1
    return nn.Sequential(*parts)


def warm(*steps: Step) -> None:
    """Execute warm-up steps, so that work done once is not timed."""
    for step in steps:
        for _ in range(WARM):
            step()
    torch.cuda.synchronize()


def rate(step: Step, images: int, steps: int) -> float:
    """Return images per second over some steps."""
    torch.cuda.synchronize()
    return 1000 * images * steps / gpu.milliseconds(lambda: [step() for _ in range(steps)], DEVICE)


def measured_peak(kind: torch.dtype) -> float:
    """Return the operations per second of a large product of random matrices."""
    a, b = torch.randn(2, SIDE, SIDE, device=DEVICE).to(kind)
    warm(lambda: torch.mm(a, b))
    times = [gpu.milliseconds(lambda: torch.mm(a, b), DEVICE) for _ in range(10)]
    return 2 * SIDE**3 / (statistics.median(times) / 1000)


def share(row: Measured, images: float, peak: float) -> float:
    """Return the share of the peak at a rate of images per second; a step counts three times the forward operations."""
    return 3 * cost.flops(row.model, SHAPE) * images / peak


def line(row: Measured, peak: float) -> str:
    """Return the row of the Markdown table."""
    head = f"| {row.model} | {row.batch} | {row.runs} "
    if row.note:
        return head + f"| | | | {row.note} |"
    ratios = [a / b for a, b in zip(row.pack, row.plain, strict=True)]
    parts = [f"{share(row, statistics.median(each), peak):.1%}" for each in (row.plain, row.pack)]
    way = "; ".join(["graph" if row.graph else "single operations", *(f"without {what}" for what in loops.lacking)])
    cells = [f"{spread(row.plain, '{:,.0f}')}, {parts[0]}", f"{spread(row.pack, '{:,.0f}')}, {parts[1]}"]
    return head + f"| {' | '.join(cells)} | {spread(ratios, '{:.1f}')} | {way} |"


def write(rows: list[Measured], peak: float, precision: str) -> None:
    """Write all rows so far, as Markdown and as JSON, to files named after the GPU."""
    name = torch.cuda.get_device_name(0)
    stem = re.sub(r"\W+", "-", name).strip("-")
    text = [f"# Training steps on a GPU: {name}, torch {torch.__version__}, {precision}", ""]
    text += [f"Peak, measured by a product of {SIDE} x {SIDE} matrices: {peak / 1e12:.0f} TFLOP/s.", ""]
    text += [
        "| net | batch | runs | plain loop: images/s, share of peak | bnbench: images/s, share of peak | ratio | |"
    ]
    text += ["| --- | ---: | ---: | ---: | ---: | ---: | --- |", *(line(row, peak) for row in rows), ""]
    write_bytes(RESULTS / f"{stem}-gpu-{precision}.md", "\n".join(text).encode())
    about: dict[str, Any] = {"gpu": name, "torch": torch.__version__, "precision": precision, "peak": peak}
    about |= {"forms": convolutions.CHOSEN, "lacking": loops.lacking}
    write_json(RESULTS / f"{stem}-gpu-{precision}.json", about | {"rows": [asdict(row) for row in rows]})


if __name__ == "__main__":
    main()
