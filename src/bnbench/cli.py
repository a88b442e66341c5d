"""`bnbench STAGE inputs --out output`: a subcommand for each stage, and for what exists before and after them."""

import argparse
import contextlib
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator

from bnbench import arguments as args
from bnbench import commands
from bnbench.arguments import Argument, required
from bnbench.core import lifeline, machine, signals, stage_times, standard_streams
from bnbench.core.atomic import full_disk_explained
from bnbench.core.errors import SystemFault, UserError

Command = Callable[[Namespace], int | None]


def command() -> int:
    """Run `main` in a process of its own, which handles signals and closed streams; return the exit code."""
    signals.listen()
    standard_streams.prepare()
    lifeline.follow()
    return main()


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand.

    Args:
        argv: the words after `bnbench`; by default those of the command line.

    Returns:
        The exit code: 0 finished; 2 to 4 the kind of error, see `core.errors`; 75 stopped, run it again to resume.
    """
    name = "bnbench"
    try:
        try:
            arguments = parser().parse_args(argv)
            name = f"bnbench {arguments.command}"
            # training saves its state first
            interruption = contextlib.nullcontext() if arguments.run is commands.train else signals.raised()
            with stage_times.timed(arguments.command), full_disk_explained(), interruption:
                result: int | None = arguments.run(arguments)
        except SystemExit:  # after the help, or a message about the command line
            sys.stdout.flush()
            raise
        sys.stdout.flush()  # so that one that is closed or full is noticed here
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        with contextlib.suppress(SystemFault, BrokenPipeError):
            sys.stdout.flush()
        return error.code
    except BrokenPipeError:
        return 0
    return result or 0


def subcommands() -> Iterator[tuple[Command, tuple[Argument, ...]]]:
    """Yield each subcommand and its arguments, in the order in which the help lists them."""
    params, tier, workers = args.PARAMS, args.TIER, args.workers(machine.cores())
    yield commands.plan, (params, tier, workers)
    yield commands.status, (params, tier)
    yield commands.claims, (args.FINISHED_TABLES,)
    yield commands.explain, (args.PREFIX, args.CHECK, params)
    yield commands.prune, (args.DELETE, params)
    yield commands.doctor, ()
    yield commands.verify, (params, tier, args.RESULTS, args.WRITE)
    yield commands.schema, (required("--out", "the JSON file"),)

    out = required("--out", "the folder, which will hold these files alone")
    yield commands.download, (args.DATASET, params, out)
    out = required("--out", "the folder of arrays and manifest")
    yield commands.prepare, (args.DATASET, params, args.RAW, out, workers)
    out = required("--out", "the folder of augmented images and manifest")
    yield commands.augment, (args.DATASET, args.AUGMENTATION, params, args.PREPARED, out)

    yield commands.train, (*args.TRAIN, workers)
    yield commands.archive, (params, tier, required("--out", "the new folder, or the new .zip file"))
    yield commands.collect, (args.PLAN, args.STORE, required("--out", "the folder of tables"))
    yield commands.figures, (args.PLAN, args.TABLES, required("--out", "the folder of figures"), workers)
    yield commands.report, (args.PLAN, args.TABLES, args.FIGURES, required("--out", "the report's folder"))
    yield commands.demo, (params, tier, args.RUNS, args.PORT, args.NO_BROWSER)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line. A subcommand is called as its function, and helps with its docstring."""
    top = argparse.ArgumentParser(prog="bnbench", description="What batch normalisation really does, measured.")
    choices = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for run, arguments in subcommands():
        help_text = (run.__doc__ or "").splitlines()[0]
        chosen = choices.add_parser(run.__name__, help=help_text, description=help_text)
        chosen.set_defaults(run=run)
        for name, keywords in arguments:
            chosen.add_argument(name, **keywords)
    return top


if __name__ == "__main__":
    sys.exit(command())
