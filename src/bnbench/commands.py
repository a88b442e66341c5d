"""The subcommands: each takes the parsed arguments, and may return an exit code.

Their first lines are the help texts. Each imports what it needs when it is run, so that `bnbench --help` is quick.
"""

import sys
from argparse import Namespace

from bnbench.core import machine
from bnbench.core.errors import UserError
from bnbench.core.files import write_json

DRAWING_MIB = 250.0  # memory of a process that draws figures


def plan(arguments: Namespace) -> None:
    """Print runs, packs, done, missing and estimated time, per study."""
    from bnbench.manage.tiers import valid_tiers
    from bnbench.plan.overview import elsewhere, overview
    from bnbench.plan.plan import Plan

    plan = Plan(arguments.params, arguments.tier)
    overview(plan, arguments.workers)
    if plan.others:
        print("\n".join(elsewhere(plan, *valid_tiers(arguments.params))))


def status(arguments: Namespace) -> None:
    """Print how many runs of each study are done, a line each."""
    from bnbench.plan.plan import Plan

    plan = Plan(arguments.params, arguments.tier)
    for study, names in plan.studies.items():
        missing = len(set(names) - plan.stored)
        print(
            f"{study}: {len(names) - missing} of {len(names)} runs done" + (f", {missing} missing" if missing else "")
        )


def explain(arguments: Namespace) -> int:
    """Print a run's settings, provenance and the command that trains it again; with --check train it and compare."""
    from bnbench.manage import explain as explaining
    from bnbench.manage.retrain import differences

    found = explaining.find(arguments.params, arguments.run_id)
    if not arguments.check:
        print("\n".join(explaining.lines(found)))
        return 0
    different = differences(found)
    for line in different or ["trained again here: the same bytes"]:
        print(f"run {found.id}: {line}")
    return 1 if different else 0


def prune(arguments: Namespace) -> None:
    """List the files that no study of any tier needs; with --delete remove them."""
    from bnbench.core.paths import Project
    from bnbench.manage import prune as pruning
    from bnbench.manage.tiers import valid_tiers

    plans, refused = valid_tiers(arguments.params)
    found = pruning.orphans(plans)
    paths = [orphan.path for orphan in found]
    for path in paths:
        print(path)
    count = sum(path.parent == Project().runs and path.name[0] != "." for path in paths)
    size = sum(map(pruning.size, paths))
    print(f"{count} orphaned runs; {len(paths)} files and folders, {size / 1e6:.1f} MB in all")
    if refused:
        problems = "\n".join(f"tier {tier}: {problem}" for tier, problem in refused.items())
        rule = "nothing is removed while a tier is invalid, for it may need what is listed; correct it first"
        raise UserError(f"{rule}:\n{problems}")
    if arguments.delete:
        for path in pruning.remove(found):
            print(f"left: {path}, for another process works on it; prune again when it has finished")
        print("removed; `dvc commit` records that in DVC, and `dvc gc --workspace` then frees its cache")
    elif found:
        print("nothing was removed; --delete does that. What was committed to DVC is restored by git and dvc checkout")


def doctor(_arguments: Namespace) -> int:
    """Report stale locks, half-written runs, missing and altered files, each with a remedy."""
    from bnbench.manage.doctor import examine

    findings = list(examine())
    for finding in findings:
        print(finding)
    faults = sum(not finding.note for finding in findings)
    print(f"{faults} faults" if faults else "no faults")
    return 1 if faults else 0


def verify(arguments: Namespace) -> int:
    """Compare a tier's runs and tables with the published digests; with --write publish those that are here."""
    from bnbench.manage import published
    from bnbench.manage import verify as verifying
    from bnbench.plan.plan import Plan

    results = verifying.Results(Plan(arguments.params, arguments.tier), arguments.results)
    tier = results.plan.resolved.tier
    if arguments.write:
        verifying.publish(results)
        print(f"{published.path(tier)} is written")
    expected = published.read(tier)
    found = list(verifying.differences(results, expected))
    counts = f"{len(expected.runs)} runs and {len(expected.tables)} tables"
    given = f"arithmetic {expected.arithmetic}, given by {', '.join(expected.processors)}"
    for line in (*found, *verifying.excluded(results)):
        print(f"tier {tier}: {line}")
    print(f"tier {tier}: {'different' if found else f'equal: {counts} are as published ({given})'}")
    return 1 if found else 0


def archive(arguments: Namespace) -> None:
    """Pack a tier's results, parameters, report and code as an RO-Crate, to be archived with a DOI."""
    from bnbench.manage.archive import archive as pack
    from bnbench.plan.plan import Plan

    pack(Plan(arguments.params, arguments.tier), arguments.out)
    print(f"{arguments.out}: an RO-Crate, described in its ro-crate-metadata.json")


def schema(arguments: Namespace) -> None:
    """Write the JSON schema of params.yaml, for editors and Snakemake."""
    from bnbench.params.schema import Params

    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    write_json(arguments.out, dialect | Params.model_json_schema())


def download(arguments: Namespace) -> None:
    """Download a data set's files from its mirrors."""
    from bnbench.data.download import download as fetch
    from bnbench.params.resolve import dataset

    fetch(arguments.dataset, dataset(arguments.params, arguments.dataset), arguments.out)


def prepare(arguments: Namespace) -> None:
    """Convert downloaded files to arrays, split into training, validation and test set, with a manifest."""
    from bnbench.data.prepare import noted
    from bnbench.data.prepare import prepare as make
    from bnbench.params.resolve import dataset

    name = arguments.dataset
    manifest = make(name, dataset(arguments.params, name), arguments.raw, arguments.out, arguments.workers)
    counts = ", ".join(f"{part['n']} {name}" for name, part in manifest["parts"].items())
    print(f"{manifest['name']}: {counts} images of {'x'.join(map(str, manifest['shape']))} in {arguments.out}")
    if note := noted(manifest):
        print(f"{manifest['name']}: {note}; named in {arguments.out}/manifest.json")


def augment(arguments: Namespace) -> None:
    """Write augmented copies of a prepared data set's training images, or only the examples of a contact sheet."""
    from bnbench.data.augment import augment as make
    from bnbench.params.resolve import augmentation, dataset

    definition = augmentation(arguments.params, arguments.augmentation)
    make(dataset(arguments.params, arguments.dataset), definition, arguments.data, arguments.out)
    print(f"{arguments.dataset}, {arguments.augmentation}: copies: {definition.copies}, in {arguments.out}")


def train(arguments: Namespace) -> None:
    """Train a job's runs into the run store."""
    from bnbench.core import devices
    from bnbench.training import job, worker

    available = tuple(devices.check(arguments.device))
    working = (arguments.work, available, arguments.checkpoint_seconds)
    space = worker.Workspace(arguments.out, arguments.timings, *working, arguments.provenance)
    counts = job.train_job(arguments.job, space, arguments.workers, arguments.log)
    print(job.summary(counts), file=sys.stderr)


def collect(arguments: Namespace) -> None:
    """Collect the run store into tables, and judge the claims."""
    from bnbench.claims.table import judge
    from bnbench.plan.record import PlanRecord
    from bnbench.tables.collect import collect as gather

    gather(PlanRecord.read(arguments.plan), arguments.store, arguments.out, judge)


def claims(arguments: Namespace) -> None:
    """Print the verdict on each claim, from the tables."""
    from bnbench.claims.listing import lines
    from bnbench.tables.files import read

    print("\n".join(lines(read(arguments.tables, "claims"))))


def figures(arguments: Namespace) -> None:
    """Draw the figures from the tables."""
    from bnbench.figures import plain

    plain.load()
    from bnbench.figures.draw import draw
    from bnbench.plan.record import PlanRecord

    workers = machine.fitting([DRAWING_MIB] * arguments.workers, arguments.workers)
    draw(PlanRecord.read(arguments.plan), arguments.tables, arguments.out, workers)


def report(arguments: Namespace) -> None:
    """Write the report, HTML and PDF."""
    from bnbench.plan.record import PlanRecord
    from bnbench.report.render import write

    write(PlanRecord.read(arguments.plan), arguments.tables, arguments.figures, arguments.out)


def demo(arguments: Namespace) -> None:
    """Serve a page on which to draw digits that trained runs classify."""
    from bnbench.demo.serve import serve
    from bnbench.plan.plan import Plan

    serve(Plan(arguments.params, arguments.tier), arguments.run_ids, arguments.port, not arguments.no_browser)
