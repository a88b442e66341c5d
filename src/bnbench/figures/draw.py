"""Drawing of all figures of a plan: each as SVG and PNG, its data as CSV and its caption as Markdown."""

import contextlib
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

from matplotlib.figure import Figure as Drawing

from bnbench.core import identities
from bnbench.core import workers as processes
from bnbench.core.atomic import atomic, write_bytes
from bnbench.core.errors import UserError
from bnbench.core.files import read_sealed
from bnbench.data.prepared import Augmented
from bnbench.figures import fonts, plain
from bnbench.figures.augmentation_sheet import draw_sheet, sheet_caption
from bnbench.figures.captions import caption
from bnbench.figures.figure_kind import find, plot_data
from bnbench.figures.plot_data import PlotData
from bnbench.figures.source import Source, select_runs
from bnbench.figures.style import styled
from bnbench.plan.record import AugmentationRecord, PlanRecord
from bnbench.tables import labels

SUFFIXES = ("svg", "png", "csv", "md")
SHEET_SUFFIXES = ("svg", "png", "md")
FIGURES_PER_WORKER = 4  # take as long to draw as a process takes to start: a second


@dataclass(frozen=True, kw_only=True)
class Job:
    """A figure to draw: everything that a worker process needs for it."""

    name: str
    plot: PlotData
    out: Path
    fonts: tuple[Path, ...] = ()  # for characters that DejaVu Sans lacks

    def texts(self) -> set[str]:
        """Return all texts that may be drawn."""
        points = self.plot.points
        drawn = {value for column in points for value in points[column].unique() if isinstance(value, str)}
        return drawn | set(fonts.strings(self.plot.options.y))


def draw(plan: PlanRecord, tables: Path, out: Path, workers: int) -> None:
    """Draw all figures of a plan into `out` in `workers` processes; the identity, beside `out`, is written last.

    Raises:
        UserError: the tables are not those of the plan or were altered, or a figure's options do not fit the
            study's runs.
    """
    identity = out.parent / "identity"
    before = _forget(identity)
    made_from = identities.only(tables, f"identity-{plan.tables_id}.json").here
    jobs = _with_fonts(list_jobs(plan, tables, out))
    _save_all(jobs, workers)
    sheets = [save_sheet(plan, entry, out) for entry in plan.augmentations]
    names = sorted([*(job.name for job in jobs), *sheets])
    _remove(out, set(before) - set(names))
    about = {"tier": plan.tier, "figures_id": plan.figures_id, "figures": names}
    drawn = [(name, SHEET_SUFFIXES if name in sheets else SUFFIXES) for name in names]
    written = [out / f"{name}.{suffix}" for name, suffixes in drawn for suffix in suffixes]
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


def list_jobs(plan: PlanRecord, tables: Path, out: Path) -> list[Job]:
    """Return the figures of all studies, each with its data.

    Raises:
        UserError: a figure's options do not fit the study's runs.
    """
    jobs = []
    for study, content in sorted(plan.studies.items()):
        source = Source.read(tables, plan, study)
        for figure, options in sorted(content.figures.items()):
            try:
                used = select_runs(source.runs, options)["dataset"]
                plot = plot_data(source, options, plan.titles, labels.data_used(used, content.data, plan.titles))
            except UserError as error:
                raise UserError(f"studies.{study}.figures.{figure}: {error}") from error
            jobs.append(Job(name=labels.figure_place(study, figure), plot=plot, out=out))
    return jobs


def _with_fonts(jobs: list[Job]) -> list[Job]:
    """Return the jobs with the fonts that their texts need; warn of characters that no font has."""
    texts = sorted({text for job in jobs for text in job.texts()})
    found, lacking = fonts.fallback(texts)
    fonts.warn(texts, lacking, "figures")
    return [replace(job, fonts=tuple(found)) for job in jobs]


def _save_all(jobs: list[Job], workers: int) -> None:
    """Save the figures in up to `workers` processes, as far as their start is worth it."""
    workers = min(workers, len(jobs) // FIGURES_PER_WORKER)
    if workers <= 1:
        for job in jobs:
            save(job)
        return
    # spawned, not forked: a fork of a process with pyarrow's threads may hang
    with processes.working(workers, get_context("spawn"), save, [(job,) for job in jobs], plain.load) as pending:
        for figure in processes.as_they_end(pending):
            figure.result()


def save(job: Job) -> None:
    """Write a figure as SVG and PNG, its data as CSV and its caption as Markdown."""
    options = job.plot.options
    with styled(fonts.families(job.fonts)):
        _save(find(options.kind).draw(job.plot), job.out / job.name, options.title)
    job.plot.write_csv(job.out / f"{job.name}.csv")
    write_bytes(job.out / f"{job.name}.md", (caption(job.plot) + "\n").encode())


def save_sheet(plan: PlanRecord, entry: AugmentationRecord, out: Path) -> str:
    """Write the contact sheet of an augmentation as SVG and PNG, and its caption; return its name."""
    augmented = Augmented.read(Path(entry.folder))
    name = labels.contact_sheet(entry.dataset, entry.augmentation)
    title = plan.titles[entry.dataset]
    with styled():
        _save(draw_sheet(augmented), out / name, f"{title}, augmentation {entry.augmentation}")
    write_bytes(out / f"{name}.md", (sheet_caption(augmented, entry.augmentation, title) + "\n").encode())
    return name


def _save(drawing: Drawing, path: Path, title: str) -> None:
    """Write a drawing as SVG and PNG without dates and versions, so that equal drawings give equal bytes."""
    with atomic(path.with_name(f"{path.name}.svg")) as temporary:
        drawing.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    with atomic(path.with_name(f"{path.name}.png")) as temporary:
        drawing.savefig(temporary, format="png", metadata={"Software": None})
