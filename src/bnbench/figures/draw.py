"""Drawing of all figures of a plan: each as SVG and PNG, its data as CSV and its caption as Markdown."""

import contextlib
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from bnbench.core import identities
from bnbench.core import workers as processes
from bnbench.core.atomic import write_bytes
from bnbench.core.errors import UserError
from bnbench.core.files import read_sealed
from bnbench.data.prepared import Augmented
from bnbench.figures import canvas, fonts
from bnbench.figures.augmentation_sheet import draw_sheet, sheet_caption
from bnbench.figures.captions import caption
from bnbench.figures.figure_kind import find, plot_data
from bnbench.figures.plot_data import PlotData
from bnbench.figures.source import Tables, select_runs
from bnbench.figures.style import styled
from bnbench.plan.record import AugmentationRecord, PlanRecord
from bnbench.tables import labels

SUFFIXES = ("svg", "png", "csv", "md")
SHEET_SUFFIXES = ("svg", "png", "md")
FIGURES_PER_WORKER = 4  # take as long to draw as a process takes to start and to read the tables: half a second


@dataclass(frozen=True, kw_only=True)
class Job:
    """A figure to draw."""

    name: str
    plot: PlotData

    def texts(self) -> set[str]:
        """Return all texts that may be drawn."""
        points = self.plot.points
        drawn = {value for column in points for value in points[column].unique() if isinstance(value, str)}
        return drawn | set(fonts.strings(self.plot.options.y))


@dataclass(frozen=True, kw_only=True)
class Lacking:
    """Characters that no font of this machine has, and the texts that may show them."""

    characters: set[str]
    texts: set[str]


def draw(plan: PlanRecord, tables: Path, out: Path, workers: int) -> None:
    """Draw all figures of a plan into `out` in `workers` processes; the identity, beside `out`, is written last.

    Raises:
        UserError: the tables are not those of the plan or were altered, or a figure's options do not fit the
            study's runs.
    """
    identity = out.parent / "identity"
    before = _forget(identity)
    made_from = identities.only(tables, f"identity-{plan.tables_id}.json").here
    sources = Tables(tables, plan)
    lacking = _draw_all(sources, out, workers)
    texts = sorted({text for found in lacking for text in found.texts})
    fonts.warn(texts, {character for found in lacking for character in found.characters}, "figures")
    sheets = [save_sheet(plan, entry, out) for entry in plan.augmentations]
    drawn = [labels.figure_place(study, figure) for study, one in plan.studies.items() for figure in one.figures]
    names = sorted([*drawn, *sheets])
    _remove(out, set(before) - set(names))
    about = {"tier": plan.tier, "figures_id": plan.figures_id, "figures": names}
    suffixes = {name: SHEET_SUFFIXES if name in sheets else SUFFIXES for name in names}
    written = [out / f"{name}.{suffix}" for name in names for suffix in suffixes[name]]
    identities.conclude(identity / f"figures-{plan.figures_id}.json", about, written, made_from)


def _forget(identity: Path) -> list[str]:
    """Remove the identity of earlier figures; return their names, as far as they can be read."""
    names: list[str] = []
    for old in sorted(identity.glob("figures-*.json")):
        with contextlib.suppress(UserError, KeyError):
            names += read_sealed(old)["figures"]
    identities.forget(identity, "figures-*.json")
    return names


def _remove(out: Path, names: set[str]) -> None:
    """Remove the files of figures that are no longer in the plan, and folders left empty."""
    for name in names:
        for suffix in SUFFIXES:
            (out / f"{name}.{suffix}").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty, or missing
            (out / name).parent.rmdir()


def list_jobs(tables: Tables, study: str) -> list[Job]:
    """Return the figures of a study, each with its data.

    Raises:
        UserError: a figure's options do not fit the study's runs.
    """
    source, content, titles = tables.study(study), tables.plan.studies[study], tables.plan.titles
    jobs = []
    for figure, options in sorted(content.figures.items()):
        try:
            used = select_runs(source.runs, options)["dataset"]
            plot = plot_data(source, options, titles, labels.data_used(used, content.data, titles))
        except UserError as error:
            raise UserError(f"studies.{study}.figures.{figure}: {error}") from error
        jobs.append(Job(name=labels.figure_place(study, figure), plot=plot))
    return jobs


def _draw_all(tables: Tables, out: Path, workers: int) -> list[Lacking]:
    """Draw the figures of all studies in up to `workers` processes, as far as their start is worth it."""
    counts = {name: len(study.figures) for name, study in sorted(tables.plan.studies.items()) if study.figures}
    workers = min(workers, sum(counts.values()) // FIGURES_PER_WORKER)
    if workers <= 1:
        return [draw_study(tables, study, out) for study in counts]
    for kind in {options.kind for study in tables.plan.studies.values() for options in study.figures.values()}:
        find(kind)
    tasks = [(study, out) for study in sorted(counts, key=lambda study: -counts[study])]
    # forked, before tables are read: a fork inherits the imports, but would hang in pyarrow's threads if there were any
    context, begin = get_context("fork"), partial(_begin, tables)
    with processes.working(workers, context, _draw_here, tasks, begin) as pending:
        return [figure.result() for figure in processes.as_they_end(pending)]


_tables: Tables  # in a worker


def _begin(tables: Tables) -> None:
    global _tables
    _tables = tables


def _draw_here(study: str, out: Path) -> Lacking:
    return draw_study(_tables, study, out)


def draw_study(tables: Tables, study: str, out: Path) -> Lacking:
    """Draw the figures of a study; return the characters that no font has."""
    jobs = list_jobs(tables, study)
    texts = set().union(*(job.texts() for job in jobs))
    found, lacking = fonts.fallback(texts)
    with styled(fonts.families(found)):
        for job in jobs:
            save(job, out)
    return Lacking(characters=lacking, texts={text for text in texts if lacking & set(text)})


def save(job: Job, out: Path) -> None:
    """Write a figure as SVG and PNG, its data as CSV and its caption as Markdown."""
    options = job.plot.options
    canvas.save(find(options.kind).draw(job.plot), out / job.name, options.title)
    job.plot.write_csv(out / f"{job.name}.csv")
    write_bytes(out / f"{job.name}.md", (caption(job.plot) + "\n").encode())


def save_sheet(plan: PlanRecord, entry: AugmentationRecord, out: Path) -> str:
    """Write the contact sheet of an augmentation as SVG and PNG, and its caption; return its name."""
    augmented = Augmented.read(Path(entry.folder))
    name = labels.contact_sheet(entry.dataset, entry.augmentation)
    title = plan.titles[entry.dataset]
    with styled():
        canvas.save(draw_sheet(augmented), out / name, f"{title}, augmentation {entry.augmentation}")
    write_bytes(out / f"{name}.md", (sheet_caption(augmented, entry.augmentation, title) + "\n").encode())
    return name
