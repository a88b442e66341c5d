"""Standard output and error of a command: a full, closed or broken stream gives one message and no traceback."""

import errno
import io
import os
import sys
from typing import Any

from bnbench.core.errors import SystemFault


class _Stream(io.FileIO):
    """A stream that raises its first write error, if `reporting`, with a remedy, and ignores all later ones."""

    def __init__(self, descriptor: int, reporting: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.reporting = reporting

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if self.reporting:
                self.reporting = False
                if isinstance(error, BrokenPipeError):
                    raise
                why = "it is closed" if error.errno == errno.EBADF else (error.strerror or str(error)).lower()
                remedy = "send it elsewhere (`> FILE`) and run the same command again"
                raise SystemFault(f"cannot write the standard output: {why}; {remedy}") from None
            return len(data)


def prepare() -> None:
    """Replace `sys.stdout` and `sys.stderr`, so that errors of writing to them give no traceback.

    Closed descriptors 0 to 2 are opened on /dev/null, so that no file of the program gets their numbers. Messages go to
    the standard error; where it cannot be written, only the exit code reports what happened.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # it is closed, and so is the first free number
            os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)
    sys.stdout = _text(1, reporting=True, lines=os.isatty(1))
    sys.stderr = _text(2, reporting=False, lines=True)


def _text(descriptor: int, reporting: bool, lines: bool) -> io.TextIOWrapper:
    old = sys.stdout if descriptor == 1 else sys.stderr
    encoding = old.encoding if old else "utf-8"
    buffer = io.BufferedWriter(_Stream(descriptor, reporting))
    return io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=lines)
