"""What a value on the command line must be; argparse tells a refusal with the name of the flag."""

import argparse
import math
import os
import re
from pathlib import Path

from bnbench.core.names import MAX_NAME


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least 1, got {number}")
    return number


def seconds(text: str) -> float:
    """Read a length of time."""
    number = float(text)
    if not (math.isfinite(number) and number >= 0):
        raise argparse.ArgumentTypeError(f"a number of seconds, 0 or more, got {text}")
    return number


def place(text: str) -> Path:
    """Read a path whose names fit a file system, those of temporary files beside it too."""
    if max(len(os.fsencode(part)) for part in text.split("/")) > MAX_NAME:
        raise argparse.ArgumentTypeError(f"a name of more than {MAX_NAME} bytes in the path; use a shorter one")
    return Path(text)


def run_id(text: str) -> str:
    """Read a run's whole id."""
    if not re.fullmatch(r"[0-9a-f]{16}", text):
        rule = "a run id is 16 digits of 0-9 and a-f, as in results/tables/runs.csv"
        raise argparse.ArgumentTypeError(f"{rule}, got {text[:40]!r}")
    return text


def port(text: str) -> int:
    """Read the number of a network port."""
    number = int(text)
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"from 1 to 65535, got {number}")
    return number
