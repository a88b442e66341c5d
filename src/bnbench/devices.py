"""Which devices a job may use, and who has which: a GPU is leased by a file lock, for one pack at a time."""

import contextlib
import fcntl
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

from bnbench.errors import UserError
from bnbench.files import explained

RETRY_SECONDS = 0.2
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
def leased(devices: Sequence[str], locks: Path | None = None) -> Iterator[str]:
    """Hold one of the devices, the first that is free; wait while none is. The system drops it with the process.

    Args:
        devices: as torch names them; of a single CPU there is no lease.
        locks: the folder of locks; by default one for all of this user's jobs on this machine.
    """
    if list(devices) == ["cpu"]:
        yield "cpu"
        return
    folder = locks or Path(tempfile.gettempdir()) / f"bnbench-{os.getuid()}"
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    while not (found := _first_free(devices, folder)):
        time.sleep(RETRY_SECONDS)
    device, file = found
    with file:
        yield device


def _first_free(devices: Sequence[str], folder: Path) -> tuple[str, IO[bytes]] | None:
    for device in devices:
        file = (folder / f"{lock_name(device, os.environ)}.lock").open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
        else:
            return device, file
    return None
