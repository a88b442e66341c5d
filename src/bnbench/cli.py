"""`bnbench STAGE inputs --out output`: each stage by hand, and what there is to do, said before anything starts."""

import argparse
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bnbench.argument_types import place, port, positive, run_id, seconds
from bnbench.core import lifeline, machine, signals, stage_times, standard
from bnbench.core.atomic import full_told
from bnbench.core.errors import SystemFault, UserError
from bnbench.core.files import read_sealed, write_json

Arguments = argparse.Namespace
DRAWING_MIB = 250.0  # of a process that draws figures


def command() -> int:
    """The program: `main`, in a process of its own; returns the exit code."""
    signals.listen()
    standard.prepare()
    lifeline.follow()
    return main()


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code (0 done, 2 to 4 see `errors`, 75 go on by starting again)."""
    name = "bnbench"
    try:
        try:
            arguments = parser().parse_args(argv)
            name = f"bnbench {arguments.command}"
            ending = contextlib.nullcontext() if arguments.run is train else signals.raised()  # training saves first
            with stage_times.noted(arguments.command), full_told(), ending:
                result: int | None = arguments.run(arguments)
        except SystemExit:  # after the help, or what is wrong with the command line
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


def plan(arguments: Arguments) -> None:
    """Print runs, packs, done, missing and estimated time, per study."""
    from bnbench.manage.explain import valid_tiers
    from bnbench.plan.overview import elsewhere, overview
    from bnbench.plan.plan import Plan

    plan = Plan(arguments.params, arguments.tier)
    overview(plan, arguments.workers)
    if plan.others:
        print("\n".join(elsewhere(plan, *valid_tiers(arguments.params))))


def status(arguments: Arguments) -> None:
    """Print how many runs of each study are done, a line each."""
    from bnbench.plan.plan import Plan

    plan = Plan(arguments.params, arguments.tier)
    for study, names in plan.studies.items():
        missing = len(set(names) - plan.stored)
        print(
            f"{study}: {len(names) - missing} of {len(names)} runs done" + (f", {missing} missing" if missing else "")
        )


def explain(arguments: Arguments) -> int:
    """Say what a run is, where it comes from, how to train it again; with --check do so and compare."""
    from bnbench.manage import explain as explaining

    found = explaining.find(arguments.params, arguments.run_id)
    if not arguments.check:
        print("\n".join(explaining.lines(found)))
        return 0
    differences = explaining.check(found)
    for line in differences or ["trained again here: the same bytes"]:
        print(f"run {found.id}: {line}")
    return 1 if differences else 0


def prune(arguments: Arguments) -> None:
    """List what no study of any tier asks for; with --delete remove it."""
    from bnbench.core import places
    from bnbench.manage import prune as pruning
    from bnbench.manage.explain import valid_tiers

    plans, refused = valid_tiers(arguments.params)
    found = pruning.orphans(plans)
    paths = [orphan.path for orphan in found]
    for path in paths:
        print(path)
    count = sum(path.parent == places.RUNS.folder and path.name[0] != "." for path in paths)
    size = sum(map(pruning.size, paths))
    print(f"{count} orphaned runs; {len(paths)} files and folders, {size / 1e6:.1f} MB in all")
    if refused:
        told = "\n".join(f"tier {tier}: {problem}" for tier, problem in refused.items())
        rule = "nothing is removed while a tier is invalid, for what is listed may be what it asks for; mend it first"
        raise UserError(f"{rule}:\n{told}")
    if arguments.delete:
        for path in pruning.remove(found):
            print(f"left: {path}, for another process works on it; once it has ended, prune again")
        print("removed; `dvc commit` tells DVC, and `dvc gc --workspace` then frees its cache")
    elif found:
        print("nothing was removed; --delete does it. What was committed to DVC comes back by git and dvc checkout")


def doctor(_arguments: Arguments) -> int:
    """Look for stale locks, half-written runs, missing and altered files; say what to do."""
    from bnbench.manage.doctor import examine

    findings = list(examine())
    for finding in findings:
        print(finding)
    faults = sum(not finding.note for finding in findings)
    print(f"{faults} faults" if faults else "no faults")
    return 1 if faults else 0


def archive(arguments: Arguments) -> None:
    """Pack a tier's results, parameters, report and code as an RO-Crate, to be archived with a DOI."""
    from bnbench.manage.archive import archive as pack
    from bnbench.plan.plan import Plan

    pack(Plan(arguments.params, arguments.tier), arguments.out)
    print(f"{arguments.out}: an RO-Crate, described in its ro-crate-metadata.json")


def schema(arguments: Arguments) -> None:
    """Write the JSON schema of params.yaml, for editors and for Snakemake."""
    from bnbench.params.schema import Params

    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    write_json(arguments.out, dialect | Params.model_json_schema())


def download(arguments: Arguments) -> None:
    """Fetch a data set's files from its mirrors."""
    from bnbench.data.download import download as fetch
    from bnbench.params.resolve import dataset

    fetch(arguments.dataset, dataset(arguments.params, arguments.dataset), arguments.out)


def prepare(arguments: Arguments) -> None:
    """Turn downloaded files into split arrays with a manifest."""
    from bnbench.data.prepare import noted
    from bnbench.data.prepare import prepare as make
    from bnbench.params.resolve import dataset

    name = arguments.dataset
    manifest = make(name, dataset(arguments.params, name), arguments.raw, arguments.out, arguments.workers)
    counts = ", ".join(f"{part['n']} {name}" for name, part in manifest["parts"].items())
    print(f"{manifest['name']}: {counts} images of {'x'.join(map(str, manifest['shape']))} in {arguments.out}")
    if said := noted(manifest):
        print(f"{manifest['name']}: {said}; named in {arguments.out}/manifest.json")


def augment(arguments: Arguments) -> None:
    """Move a prepared data set's training images at random, as copies or for a contact sheet alone."""
    from bnbench.data.augment import augment as make
    from bnbench.params.resolve import augmentation, dataset

    definition = augmentation(arguments.params, arguments.augmentation)
    make(dataset(arguments.params, arguments.dataset), definition, arguments.data, arguments.out)
    print(f"{arguments.dataset}, {arguments.augmentation}: copies: {definition.copies}, in {arguments.out}")


def train(arguments: Arguments) -> None:
    """Train a job's runs into the run store."""
    from bnbench.core import devices
    from bnbench.training import job, worker

    found = tuple(devices.check(arguments.device))
    working = (arguments.work, found, arguments.checkpoint_seconds)
    space = worker.Workspace(arguments.out, arguments.timings, *working, arguments.provenance)
    counts = job.train_job(arguments.job, space, arguments.workers, arguments.log)
    print(job.summary(counts), file=sys.stderr)


def collect(arguments: Arguments) -> None:
    """Make the tables from the run store."""
    from bnbench.tables.collect import collect as gather

    gather(_plan(arguments.plan), arguments.store, arguments.out)


def figures(arguments: Arguments) -> None:
    """Draw the figures from the tables."""
    from bnbench.figures import plain

    plain.load()
    from bnbench.figures.draw import draw

    workers = machine.fitting([DRAWING_MIB] * arguments.workers, arguments.workers)
    draw(_plan(arguments.plan), arguments.tables, arguments.out, workers)


def report(arguments: Arguments) -> None:
    """Write the report, HTML and PDF."""
    from bnbench.report.render import write

    write(_plan(arguments.plan), arguments.tables, arguments.figures, arguments.out)


def _plan(path: Path) -> dict[str, Any]:
    return read_sealed(path, "name a plan's file under .bnbench/plans, which each start of snakemake writes anew")


def demo(arguments: Arguments) -> None:
    """Open a page to draw digits on, and see what trained runs say of them."""
    from bnbench.demo.serve import serve
    from bnbench.plan.plan import Plan

    serve(Plan(arguments.params, arguments.tier), arguments.run_ids, arguments.port, not arguments.no_browser)


PLAN = ("plan", {"type": place, "help": "the plan's file, as the workflow writes it"})
DATASET = ("dataset", {"help": "a key of `datasets` in the parameter file"})
AUGMENTATION = ("augmentation", {"help": "a key of `augmentations` in the parameter file"})
RAW = ("--raw", {"type": place, "help": "the downloaded folder"})
PREPARED = (
    "--data",
    {"type": place, "required": True, "help": "the folder that `bnbench prepare` filled"},
)


def _path(name: str, help_text: str) -> tuple[str, dict[str, Any]]:
    return name, {"type": place, "required": True, "help": help_text}


TRAIN = (
    ("job", {"type": place, "help": "a list of packs, as the workflow writes it"}),
    _path("--out", "the run store"),
    _path("--timings", "the folder of wall times"),
    ("--provenance", {"type": place, "help": "the folder that is told where the runs come from"}),
    (
        "--work",
        {"type": place, "default": Path(".bnbench"), "help": "checkpoints and locks (%(default)s)"},
    ),
    ("--device", {"default": "cpu", "help": "cpu, cuda (all GPUs), cuda:N (one), cuda+cpu (%(default)s)"}),
    (
        "--checkpoint-seconds",
        {"type": seconds, "default": 30.0, "help": "at most so much work is lost (%(default)s)"},
    ),
    ("--log", {"type": place, "help": "a line per pack goes there"}),
)


def parser() -> argparse.ArgumentParser:
    """The command line: a sub-command per stage."""
    top = argparse.ArgumentParser(prog="bnbench", description="What batch normalisation really does, measured.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(run: Callable[[Arguments], object], *flags: tuple[str, dict[str, Any]]) -> None:
        help_text = (run.__doc__ or "").splitlines()[0]
        command = commands.add_parser(run.__name__, help=help_text, description=help_text)
        command.set_defaults(run=run)
        for name, options in flags:
            command.add_argument(name, **options)

    params = ("--params", {"type": place, "default": Path("params.yaml"), "help": "the parameter file"})
    tier = ("--tier", {"choices": ["quick", "small", "full"], "help": "instead of the parameter file's"})
    cores = {"type": positive, "default": machine.cores(), "help": "processes of one thread (%(default)s)"}
    workers = ("--workers", cores)

    add(plan, params, tier, workers)
    add(status, params, tier)
    prefix = ("run_id", {"help": "a run's id or its beginning, as in results/tables/runs.csv"})
    add(explain, prefix, ("--check", {"action": "store_true", "help": "train it again and compare"}), params)
    add(prune, ("--delete", {"action": "store_true", "help": "remove what is listed"}), params)
    add(doctor)
    tables = _path("--tables", "the folder of tables")
    add(schema, _path("--out", "the JSON file"))
    add(download, DATASET, params, _path("--out", "the folder, which will hold these files alone"))
    add(prepare, DATASET, params, RAW, _path("--out", "the folder of arrays and manifest"), workers)
    add(augment, DATASET, AUGMENTATION, params, PREPARED, _path("--out", "the folder of moved images and manifest"))
    add(train, *TRAIN, workers)
    add(archive, params, tier, _path("--out", "the new folder, or the new .zip file"))
    add(collect, PLAN, _path("--store", "the run store"), _path("--out", "the folder of tables"))
    add(figures, PLAN, tables, _path("--out", "the folder of figures"), workers)
    add(report, PLAN, tables, _path("--figures", "the folder of figures"), _path("--out", "the report's folder"))
    runs = {"dest": "run_ids", "nargs": "+", "default": [], "metavar": "RUN_ID", "type": run_id}
    shown = ("--run", {**runs, "help": "runs instead of the plan's best pair"})
    listening = ("--port", {"type": port, "help": "of this machine (the first free one from 7860 on)"})
    add(
        demo, params, tier, shown, listening, ("--no-browser", {"action": "store_true", "help": "only say where it is"})
    )
    return top


if __name__ == "__main__":
    sys.exit(command())
