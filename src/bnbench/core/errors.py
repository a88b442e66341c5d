"""Errors that are shown to a user without traceback, each kind with an exit code of its own."""


class UserError(Exception):
    """A mistake that the user can correct. The message names the rule, the value found, its place, and the remedy."""

    code = 2


class DataError(UserError):
    """Data that cannot be obtained or trusted: an unreachable mirror, a wrong checksum, a truncated file."""

    code = 3


class SystemFault(UserError):
    """A refusal by the operating system: no disk space, a folder that cannot be written."""

    code = 4


class Interrupted(UserError):
    """Stopped by a signal with its state saved; the same command resumes (exit code EX_TEMPFAIL of BSD)."""

    code = 75
