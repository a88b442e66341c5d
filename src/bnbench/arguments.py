"""Arguments of the command line: the types of their values, and those that several subcommands share.

argparse reports a refused value with the name of its flag.
"""

import argparse
import math
import os
import re
from pathlib import Path
from typing import Any

from bnbench.core.names import MAX_NAME
from bnbench.core.paths import RELATIVE

Argument = tuple[str, dict[str, Any]]  # a name, and the keywords of `ArgumentParser.add_argument`


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least 1, got {number}")
    return number


def seconds(text: str) -> float:
    """Parse a duration in seconds."""
    number = float(text)
    if not (math.isfinite(number) and number >= 0):
        raise argparse.ArgumentTypeError(f"a number of seconds, 0 or more, got {text}")
    return number


def path(text: str) -> Path:
    """Parse a path whose names fit a file system, with room for those of temporary files beside it."""
    if max(len(os.fsencode(part)) for part in text.split("/")) > MAX_NAME:
        raise argparse.ArgumentTypeError(f"a name of more than {MAX_NAME} bytes in the path; use a shorter one")
    return Path(text)


def run_id(text: str) -> str:
    """Parse a complete run id."""
    if not re.fullmatch(r"[0-9a-f]{16}", text):
        rule = "a run id is 16 digits of 0-9 and a-f, as in results/tables/runs.csv"
        raise argparse.ArgumentTypeError(f"{rule}, got {text[:40]!r}")
    return text


def port(text: str) -> int:
    """Parse the number of a network port."""
    number = int(text)
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"from 1 to 65535, got {number}")
    return number


def required(name: str, help_text: str) -> Argument:
    """Return a flag that must be given, and takes a path."""
    return name, {"type": path, "required": True, "help": help_text}


PARAMS = ("--params", {"type": path, "default": Path("params.yaml"), "help": "the parameter file (%(default)s)"})
TIER = ("--tier", {"choices": ["quick", "small", "full"], "help": "instead of the parameter file's"})
PREFIX = ("run_id", {"help": "a run id or its first digits, as in results/tables/runs.csv"})
CHECK = ("--check", {"action": "store_true", "help": "train it again and compare"})
RESULTS = (
    "--results",
    {"type": path, "default": RELATIVE.results, "help": "the folder of run store and tables (%(default)s)"},
)
WRITE = ("--write", {"action": "store_true", "help": "write the digests of these results to docs/results/TIER.json"})
DELETE = ("--delete", {"action": "store_true", "help": "remove what is listed"})

DATASET = ("dataset", {"help": "a key of `datasets` in the parameter file"})
AUGMENTATION = ("augmentation", {"help": "a key of `augmentations` in the parameter file"})
RAW = ("--raw", {"type": path, "help": "the downloaded folder"})
PREPARED = required("--data", "the folder that `bnbench prepare` filled")

PLAN = ("plan", {"type": path, "help": "the plan's file, as the workflow writes it"})
STORE = required("--store", "the run store")
TABLES = required("--tables", "the folder of tables")
FINISHED_TABLES = ("--tables", {"type": path, "default": RELATIVE.tables, "help": "the folder of tables (%(default)s)"})
FIGURES = required("--figures", "the folder of figures")

TRAIN = (
    ("job", {"type": path, "help": "a list of packs, as the workflow writes it"}),
    required("--out", "the run store"),
    required("--timings", "the folder of wall times"),
    ("--provenance", {"type": path, "help": "the folder where the provenance of the runs is recorded"}),
    ("--work", {"type": path, "default": RELATIVE.work, "help": "the folder of checkpoints (%(default)s)"}),
    ("--device", {"default": "cpu", "help": "cpu, cuda (all GPUs), cuda:N (one), cuda+cpu (%(default)s)"}),
    ("--checkpoint-seconds", {"type": seconds, "default": 30.0, "help": "between two checkpoints (%(default)s)"}),
    ("--log", {"type": path, "help": "the file that gets a line per pack"}),
)

RUNS = (
    "--run",
    {
        "dest": "run_ids",
        "nargs": "+",
        "default": [],
        "metavar": "RUN_ID",
        "type": run_id,
        "help": "the runs to show, instead of the plan's best pair",
    },
)
PORT = ("--port", {"type": port, "help": "of this machine (the first free one from 7860 on)"})
NO_BROWSER = ("--no-browser", {"action": "store_true", "help": "print the address, and open no browser"})


def workers(cores: int) -> Argument:
    """Return the flag that sets the number of processes, by default one per core."""
    return "--workers", {"type": positive, "default": cores, "help": "processes of one thread (%(default)s)"}
