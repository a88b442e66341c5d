"""Passes over a part of a pack's data outside training, in chunks that memory allows."""

from collections.abc import Callable, Iterator
from itertools import pairwise, starmap

from torch import Tensor

from bnbench.training.pack.pack import Pack

Watch = Callable[[list[Tensor]], None]


def chunks(pack: Pack, images: int) -> Iterator[slice]:
    """Images evaluated at once: as memory allows, or `batch_size` where they are the population themselves.

    Then a rest that fills no batch joins the one before it: no statistic is of fewer images.
    """
    chunk = pack.chunk
    starts = range(0, images, chunk)
    if pack.run.population == "batch":
        chunk = pack.run.batch_size
        starts = range(0, max(1, images // chunk) * chunk, chunk)
    return starmap(slice, pairwise([*starts, images]))


def walk(pack: Pack, part: str, watch: Watch) -> None:
    """Run the network, as it is bound, over a part of the data, outside training.

    `watch` is called for each chunk of images with every layer's output, the logits_RNK last.
    """
    images, runs = pack.data[part].x, len(pack.names)
    for few in chunks(pack, len(images)):
        trace: list[Tensor] = []
        pack.network.forward(images[few].expand(runs, *images[few].shape), trace=trace)
        watch(trace)
