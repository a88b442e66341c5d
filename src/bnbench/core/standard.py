"""A command's standard streams: where one is full, closed or gone, that is said in words, and nothing else is lost."""

import errno
import io
import os
import sys
from typing import Any

from bnbench.core.errors import SystemFault


class _Stream(io.FileIO):
    """A stream that refuses once, in words, if it is `told`, and then takes everything in silence."""

    def __init__(self, descriptor: int, told: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.told = told

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if self.told:
                self.told = False
                if isinstance(error, BrokenPipeError):
                    raise
                why = "it is closed" if error.errno == errno.EBADF else (error.strerror or str(error)).lower()
                remedy = "send it elsewhere (`> FILE`) and run the same command again"
                raise SystemFault(f"cannot write the standard output: {why}; {remedy}") from None
            return len(data)


def prepare() -> None:
    """Make the streams ready: what cannot be said on one is no traceback, and no file takes the number of a closed one.

    Messages go to the standard error, where it can be written; if not, the exit code still says what happened.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed; the first free number is its
            os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)
    sys.stdout = _text(1, told=True, lines=os.isatty(1))
    sys.stderr = _text(2, told=False, lines=True)


def _text(descriptor: int, told: bool, lines: bool) -> io.TextIOWrapper:
    old = sys.stdout if descriptor == 1 else sys.stderr
    encoding = old.encoding if old else "utf-8"
    buffer = io.BufferedWriter(_Stream(descriptor, told))
    return io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=lines)
