"""Devices that a job may use. A GPU is leased by a file lock, to one pack at a time."""

import contextlib
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from bnbench.core import locks
from bnbench.core.atomic import private_folder
from bnbench.core.errors import UserError

MEMORY = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")
SMALL_GPU, GPU_SHARE = 16_000.0, 0.9  # MiB; the rest is for driver, libraries and fragmentation

FORM = re.compile(r"cpu|cuda(:\d+)?(\+cpu)?", re.ASCII)


def named(device: str) -> str:
    """Return `device` if it is a valid name of devices, whether or not this machine has them.

    Raises:
        ValueError: it is not.
    """
    if not FORM.fullmatch(device):
        raise ValueError(f"no device {device!r}; use cpu, cuda (all GPUs), cuda:N (one) or cuda+cpu (GPUs and CPU)")
    return device


def check(device: str) -> list[str]:
    """Return the devices, by torch's names, that `device` stands for.

    Args:
        device: `cpu`; `cuda`, all visible GPUs; `cuda:1`, that one; `cuda+cpu`, the GPUs and the CPU.

    Raises:
        UserError: it is no name of devices, or torch sees no such GPU.
    """
    if device == "cpu":
        return ["cpu"]
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return choose(device, count, f"torch {torch.__version__}", os.environ)


def choose(device: str, count: int, seen_by: str, environment: Mapping[str, str]) -> list[str]:
    """Return the devices as `check` does, given that `seen_by` (torch and its version) sees `count` GPUs."""
    try:
        kind, _, cpu = named(device).partition("+")
    except ValueError as error:
        raise UserError(str(error)) from None
    number = kind.partition(":")[2]
    gpus = [f"cuda:{i}" for i in range(count)]
    if not gpus or (number and kind not in gpus):
        visible = environment.get("CUDA_VISIBLE_DEVICES")
        reason = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
        raise UserError(
            f"{kind} is requested, but {seen_by} sees {count} GPUs{reason}; request one for the job or the session, "
            f"install a torch built for CUDA, or use --device cpu"
        )
    return ([kind] if number else gpus) + (["cpu"] if cpu else [])


@cache
def gpu_memory() -> float:
    """Return the MiB that training may use on this machine's smallest GPU, or on a small one if there is no driver."""
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        done = subprocess.run(MEMORY, capture_output=True, text=True, check=True, timeout=30)
        return GPU_SHARE * min(float(line) for line in done.stdout.split())
    return GPU_SHARE * SMALL_GPU


def lock_name(device: str, environment: Mapping[str, str]) -> str:
    """Return the name of a device's lock file: that of the physical GPU, however this process numbers it."""
    kind, _, number = device.partition(":")
    if kind == "cpu":
        return f"cpu-{os.getppid()}"  # each job has its own
    visible = [name.strip() for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return f"gpu-{visible[int(number)] if visible else number}".replace("/", "_")


@contextlib.contextmanager
def leased(
    devices: Sequence[str], pause: Callable[[], object] = lambda: None, folder: Path | None = None
) -> Iterator[str]:
    """Acquire an exclusive lease on the first free device; block until one is free. It ends with the process at last.

    Args:
        devices: torch's names; a single CPU needs no lease.
        pause: called between two attempts; an exception from it ends the waiting.
        folder: the folder of lock files; by default one for all of this user's jobs on this machine.

    Yields:
        The leased device.
    """
    if list(devices) == ["cpu"]:
        yield "cpu"
        return
    folder = folder or private_folder()
    named = {locks.of(folder / lock_name(device, os.environ), f"device {device}"): device for device in devices}
    with locks.first_of(list(named), pause) as lock:
        yield named[lock]
