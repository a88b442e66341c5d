"""Passes over a split of a pack's data outside training, in chunks of images that fit in memory."""

from collections.abc import Callable, Iterator
from itertools import pairwise, starmap

from torch import Tensor

from bnbench.training.pack.pack import Pack

Watch = Callable[[list[Tensor]], None]


def chunks(pack: Pack, images: int) -> Iterator[slice]:
    """Yield the images that are evaluated together.

    Their number is that of `Pack.chunk`, or `batch_size` where the norms use the statistics of the evaluated images
    (`population: batch`). An incomplete last batch is then joined to the one before it, so that no statistic is of
    fewer images.
    """
    chunk = pack.chunk
    starts = range(0, images, chunk)
    if pack.run.population == "batch":
        chunk = pack.run.batch_size
        starts = range(0, max(1, images // chunk) * chunk, chunk)
    return starmap(slice, pairwise([*starts, images]))


def walk(pack: Pack, part: str, watch: Watch) -> None:
    """Run the network with its present arrays over a split of the data, outside training.

    Args:
        pack: whose network and data.
        part: name of the split.
        watch: called for each chunk of images with every layer's output, the logits_RNK last.
    """
    images, runs = pack.data[part].x, len(pack.names)
    for few in chunks(pack, len(images)):
        trace: list[Tensor] = []
        pack.network.forward(images[few].expand(runs, *images[few].shape), trace=trace)
        watch(trace)
