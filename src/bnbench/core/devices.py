"""Which devices a job may use, and who has which: a GPU is leased by a file lock, for one pack at a time."""

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
SMALL_GPU, GPU_SHARE = 16_000.0, 0.9  # MiB; what is left to the driver, libraries and gaps


FORM = re.compile(r"cpu|cuda(:\d+)?(\+cpu)?", re.ASCII)


def named(device: str) -> str:
    """Return the name of devices if it is one, whatever this machine has.

    Raises:
        ValueError: it is none.
    """
    if not FORM.fullmatch(device):
        raise ValueError(f"no device {device!r}; use cpu, cuda (all GPUs), cuda:N (one) or cuda+cpu (GPUs and CPU)")
    return device


def check(device: str) -> list[str]:
    """The devices, as torch names them, that `device` stands for.

    Args:
        device: `cpu`; `cuda`, all GPUs that are visible; `cuda:1`, that one; `cuda+cpu`, the GPUs and the CPU.

    Raises:
        UserError: another word, or torch sees no such GPU.
    """
    if device == "cpu":
        return ["cpu"]
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return choose(device, count, f"torch {torch.__version__}", os.environ)


def choose(device: str, count: int, seen_by: str, environment: Mapping[str, str]) -> list[str]:
    """`check` on a machine where `count` GPUs are visible to `seen_by`."""
    try:
        kind, _, cpu = named(device).partition("+")
    except ValueError as error:
        raise UserError(str(error)) from None
    number = kind.partition(":")[2]
    gpus = [f"cuda:{i}" for i in range(count)]
    if not gpus or (number and kind not in gpus):
        visible = environment.get("CUDA_VISIBLE_DEVICES")
        told = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
        raise UserError(
            f"{kind} is asked for, but {seen_by} sees {count} GPUs{told}; ask for one with the job or the session, "
            f"install a torch built for CUDA, or use --device cpu"
        )
    return ([kind] if number else gpus) + (["cpu"] if cpu else [])


@cache
def gpu_memory() -> float:
    """MiB of this machine's smallest GPU that training may use, as its driver tells; else of a small one."""
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        done = subprocess.run(MEMORY, capture_output=True, text=True, check=True, timeout=30)
        return GPU_SHARE * min(float(line) for line in done.stdout.split())
    return GPU_SHARE * SMALL_GPU


def lock_name(device: str, environment: Mapping[str, str]) -> str:
    """What a device is called in a lock's name: the GPU itself, whatever number this process has for it."""
    kind, _, number = device.partition(":")
    if kind == "cpu":
        return f"cpu-{os.getppid()}"  # each job has its own
    visible = [name.strip() for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return f"gpu-{visible[int(number)] if visible else number}".replace("/", "_")


@contextlib.contextmanager
def leased(
    devices: Sequence[str], pause: Callable[[], object] = lambda: None, folder: Path | None = None
) -> Iterator[str]:
    """Hold one of the devices, the first that is free; wait while none is. The system drops it with the process.

    Args:
        devices: as torch names them; of a single CPU there is no lease.
        pause: called between two tries; what it raises ends the waiting.
        folder: the folder of locks; by default one for all of this user's jobs on this machine.
    """
    if list(devices) == ["cpu"]:
        yield "cpu"
        return
    folder = folder or private_folder()
    named = {locks.of(folder / lock_name(device, os.environ), f"device {device}"): device for device in devices}
    with locks.first_of(list(named), pause) as lock:
        yield named[lock]
