"""What a GPU does in its own way: graphs of calls, streams side by side, fp32 products that are fp32."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache

import torch
from torch import Tensor

STREAMS = 8


class Unrecorded(RuntimeError):
    """The work cannot be recorded on this GPU."""


def ready(device: str) -> None:
    """Work on this GPU from here on, with fp32 products of fp32 arrays: cuDNN would round their factors to TF32."""
    torch.cuda.set_device(device)
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.fp32_precision = "ieee"


def memory(device: torch.device) -> int:
    """Bytes of a GPU."""
    return int(torch.cuda.get_device_properties(device).total_memory)


@cache
def stream(device: torch.device, purpose: str) -> torch.cuda.Stream:  # noqa: ARG001
    """One for each purpose: cuBLAS keeps memory for every stream that it has worked on."""
    return torch.cuda.Stream(device)


def warmed(work: Callable[[], object], on: torch.cuda.Stream, times: int) -> torch.cuda.CUDAGraph:
    """Do `work` on a stream so many times, then record it there: see `record`."""
    with following(on):
        for _ in range(times):
            work()
    return record(work, on)


@contextlib.contextmanager
def following(on: torch.cuda.Stream) -> Iterator[None]:
    """Work on another stream, after all before and before all after."""
    here = torch.cuda.current_stream(on.device)
    on.wait_stream(here)
    with torch.cuda.stream(on):
        yield
    here.wait_stream(on)


def milliseconds(work: Callable[[], object], device: torch.device | str) -> float:
    """What the GPU takes for `work`."""
    here = torch.cuda.current_stream(device)
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record(here)
    work()
    end.record(here)
    end.synchronize()
    return float(start.elapsed_time(end))


def record(work: Callable[[], object], on: torch.cuda.Stream) -> torch.cuda.CUDAGraph:
    """The calls of `work` as a graph; nothing is computed yet.

    Args:
        work: has been done on that stream before, so that all libraries it uses are loaded.
        on: the stream.

    Raises:
        torch.OutOfMemoryError: the GPU has no memory for its arrays.
        Unrecorded: it has a call that waits for the GPU, or the GPU knows no graphs.
    """
    graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream(on.device)
    try:
        with torch.cuda.graph(graph, stream=on, capture_error_mode="thread_local"):
            work()
    except RuntimeError as error:
        torch.cuda.set_stream(before)  # torch leaves the other one in place where the end of a recording fails
        first: BaseException = error
        while first.__context__ is not None:
            first = first.__context__
        if isinstance(first, torch.OutOfMemoryError):
            raise first from None
        raise Unrecorded(str(first).partition("\n")[0]) from error
    return graph


@contextlib.contextmanager
def beside(x_R: Tensor) -> Iterator[Callable[[int], AbstractContextManager[object]]]:
    """For work on each run of x that does not wait for that on others: `with at(r):`; on a CPU in turn."""
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
