"""CUDA graphs, parallel streams, and fp32 products without TF32."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache

import torch
from torch import Tensor

STREAMS = 8


class Unrecorded(RuntimeError):
    """The work cannot be captured in a CUDA graph on this GPU."""


def ready(device: str) -> None:
    """Select this GPU, and make its products of fp32 arrays fp32: cuDNN would round their factors to TF32."""
    torch.cuda.set_device(device)
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.fp32_precision = "ieee"


def memory(device: torch.device) -> int:
    """Return the bytes of a GPU's memory."""
    return int(torch.cuda.get_device_properties(device).total_memory)


@cache
def stream(device: torch.device, purpose: str) -> torch.cuda.Stream:  # noqa: ARG001
    """Return the stream of a purpose, always the same: cuBLAS reserves memory for every stream that it works on."""
    return torch.cuda.Stream(device)


def warmed(work: Callable[[], object], on: torch.cuda.Stream, times: int) -> torch.cuda.CUDAGraph:
    """Execute `work` on a stream this many times, then record it there: see `record`."""
    with following(on):
        for _ in range(times):
            work()
    return record(work, on)


@contextlib.contextmanager
def following(on: torch.cuda.Stream) -> Iterator[None]:
    """Execute the block on another stream, ordered after all work before it and before all work after it."""
    here = torch.cuda.current_stream(on.device)
    on.wait_stream(here)
    with torch.cuda.stream(on):
        yield
    here.wait_stream(on)


def milliseconds(work: Callable[[], object], device: torch.device | str) -> float:
    """Return the GPU's time for `work` in ms."""
    here = torch.cuda.current_stream(device)
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record(here)
    work()
    end.record(here)
    end.synchronize()
    return float(start.elapsed_time(end))


def record(work: Callable[[], object], on: torch.cuda.Stream) -> torch.cuda.CUDAGraph:
    """Return the kernel launches of `work` as a graph; nothing is computed yet.

    Args:
        work: executed on that stream before, so that all libraries that it uses are loaded.
        on: the stream.

    Raises:
        torch.OutOfMemoryError: the GPU has no memory for its arrays.
        Unrecorded: it has a call that waits for the GPU, or the GPU does not support graphs.
    """
    graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream(on.device)
    try:
        with torch.cuda.graph(graph, stream=on, capture_error_mode="thread_local"):
            work()
    except RuntimeError as error:
        torch.cuda.set_stream(before)  # torch does not restore the stream if the end of a capture fails
        first: BaseException = error
        while first.__context__ is not None:
            first = first.__context__
        if isinstance(first, torch.OutOfMemoryError):
            raise first from None
        raise Unrecorded(str(first).partition("\n")[0]) from error
    return graph


@contextlib.contextmanager
def beside(x_R: Tensor) -> Iterator[Callable[[int], AbstractContextManager[object]]]:
    """Yield a context for the work on each run of x, `with at(r):`, in parallel streams; on a CPU in sequence."""
    if not x_R.is_cuda or len(x_R) == 1:
        yield lambda _r: contextlib.nullcontext()
        return
    here = torch.cuda.current_stream(x_R.device)
    streams = [stream(x_R.device, f"run {i}") for i in range(min(STREAMS, len(x_R)))]
    for one in streams:
        one.wait_stream(here)
    yield lambda r: torch.cuda.stream(streams[r % len(streams)])
    for one in streams:
        here.wait_stream(one)
