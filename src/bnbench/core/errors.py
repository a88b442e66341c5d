"""What can go wrong for a user, and the exit code that says which kind it was."""


class UserError(Exception):
    """A mistake the user can mend: the rule, the value seen, where, and the way out. Shown without traceback."""

    code = 2


class DataError(UserError):
    """Data that cannot be had or trusted: an unreachable mirror, a wrong checksum, a truncated file."""

    code = 3


class SystemFault(UserError):
    """The machine refuses: no disk space, a folder that cannot be written."""

    code = 4


class Interrupted(UserError):
    """Stopped by a signal with its state saved; the same command goes on from there (BSD's EX_TEMPFAIL)."""

    code = 75
