"""Figures: a function for each kind, from the table that it draws to the figure; data and caption beside."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure as Drawing

from bnbench.core import identities
from bnbench.core import workers as processes
from bnbench.core.atomic import atomic, write_bytes
from bnbench.core.errors import UserError
from bnbench.core.files import read_sealed
from bnbench.data.prepared import Augmented
from bnbench.figures import fonts, plain
from bnbench.figures.augmentation_sheet import contact_caption, draw_contact
from bnbench.figures.captions import caption
from bnbench.figures.confusion_matrix import draw_confusion
from bnbench.figures.curves import draw_curves
from bnbench.figures.heatmap import draw_heatmap
from bnbench.figures.hyperplanes import draw_hyperplanes
from bnbench.figures.network_diagram import draw_networks
from bnbench.figures.plot_data import POINTS, Source, chosen, types
from bnbench.figures.prediction_grid import draw_predictions
from bnbench.figures.ridges import draw_ridges
from bnbench.figures.style import styled
from bnbench.figures.sweeps import draw_sweep
from bnbench.params.study_schema import Figure
from bnbench.plan.record import PlanRecord
from bnbench.tables import files as store_tables
from bnbench.tables import labels

FIGURES: dict[str, Callable[[pd.DataFrame, Figure], Drawing]] = {
    "curves": draw_curves,
    "sweep": draw_sweep,
    "heatmap": draw_heatmap,
    "ridges": draw_ridges,
    "hyperplanes": draw_hyperplanes,
    "predictions": draw_predictions,
    "networks": draw_networks,
    "confusion": draw_confusion,
}
SUFFIXES = ("svg", "png", "csv", "md")
OF_SHEETS = ("svg", "png", "md")
WORTH = 4  # figures that take as long to draw as a process to start: a second


@dataclass(frozen=True, kw_only=True)
class Job:
    """A figure to be drawn: everything that a process needs for it."""

    name: str
    points: pd.DataFrame
    options: Figure
    titles: dict[str, str]  # of the data sets
    data: str  # the data sets used, in words
    out: Path
    fonts: tuple[Path, ...] = ()  # for what the usual one lacks

    def texts(self) -> set[str]:
        """All texts that may be drawn."""
        named = labels.titled(self.points, self.titles)
        drawn = {value for column in named for value in named[column].unique() if isinstance(value, str)}
        return drawn | set(fonts.strings(self.options.y))


def draw(record: PlanRecord, tables: Path, out: Path, workers: int) -> None:
    """Draw all figures of a plan into `out`, on `workers` processes; the identity, beside `out`, comes last.

    Raises:
        UserError: the tables are not those of the plan as they were written, or a figure's options do not fit the
            study's runs.
    """
    plan = record.as_dict()
    identity = out.parent / "identity"
    before = _forget(identity)
    made_from = identities.only(tables, f"identity-{plan['tables_id']}.json").here
    jobs = list_jobs(plan, tables, out)
    texts = sorted({text for job in jobs for text in job.texts()})
    found, lacking = fonts.fallback(texts)
    fonts.warn(texts, lacking, "figures")
    jobs = [replace(job, fonts=tuple(found)) for job in jobs]
    workers = min(workers, len(jobs) // WORTH)
    if workers > 1:
        # spawned, not forked: a fork of a process with pyarrow's threads may hang
        with processes.working(workers, get_context("spawn"), save, [(job,) for job in jobs], plain.load) as pending:
            for figure in processes.as_they_end(pending):
                figure.result()
    else:
        for job in jobs:
            save(job)
    sheets = [save_contact(plan, entry, out) for entry in plan["augmentations"]]
    names = sorted([*(job.name for job in jobs), *sheets])
    for name in set(before) - set(names):
        for suffix in SUFFIXES:
            (out / f"{name}.{suffix}").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty, or not there
            (out / name).parent.rmdir()
    about = {"tier": plan["tier"], "figures_id": plan["figures_id"], "figures": names}
    drawn = [(name, SUFFIXES) for name in names if name not in sheets] + [(name, OF_SHEETS) for name in sheets]
    written = [out / f"{name}.{suffix}" for name, suffixes in drawn for suffix in suffixes]
    identities.conclude(identity / f"figures-{plan['figures_id']}.json", about, written, made_from)


def _forget(identity: Path) -> list[str]:
    """Remove the identity of earlier figures; return their names, as far as they are known."""
    names: list[str] = []
    for old in sorted(identity.glob("figures-*.json")):
        with contextlib.suppress(UserError, KeyError):
            names += read_sealed(old)["figures"]
    identities.forget(identity, "figures-*.json")
    return names


def list_jobs(plan: dict[str, Any], tables: Path, out: Path) -> list[Job]:
    """The figures of all studies, each with its points.

    Raises:
        UserError: a figure's options do not fit the study's runs.
    """
    titles = {name: dataset["title"] for name, dataset in plan["datasets"].items()}
    jobs = []
    for study, content in sorted(plan["studies"].items()):
        source = Source.read(tables, plan, study)
        for figure, raw in sorted(content["figures"].items()):
            options = Figure.model_validate(raw)
            try:
                points = POINTS[options.kind](source, options)
            except UserError as error:
                raise UserError(f"studies.{study}.figures.{figure}: {error}") from error
            name = labels.figure_place(study, figure)
            data = labels.data_used(chosen(source.runs, options)["dataset"], content["data"], titles)
            jobs.append(Job(name=name, points=points, options=options, titles=titles, data=data, out=out))
    return jobs


def save_contact(plan: dict[str, Any], entry: dict[str, str], out: Path) -> str:
    """Write the contact sheet of an augmentation as SVG and PNG, and its caption; returns its name."""
    augmented, name = (
        Augmented.read(Path(entry["folder"])),
        labels.contact_sheet(entry["dataset"], entry["augmentation"]),
    )
    title = plan["datasets"][entry["dataset"]]["title"]
    with styled():
        _save(draw_contact(augmented), out / name, f"{title}, augmentation {entry['augmentation']}")
    write_bytes(out / f"{name}.md", (contact_caption(augmented, entry["augmentation"], title) + "\n").encode())
    return name


def _save(drawing: Drawing, place: Path, title: str) -> None:
    with atomic(place.with_name(f"{place.name}.svg")) as path:
        drawing.savefig(path, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    with atomic(place.with_name(f"{place.name}.png")) as path:
        drawing.savefig(path, format="png", metadata={"Software": None})


def save(job: Job) -> None:
    """Write a figure as SVG and PNG, its points as CSV and its caption as Markdown."""
    named = labels.titled(job.points, job.titles)
    with styled(fonts.families(job.fonts)):
        _save(FIGURES[job.options.kind](named, job.options), job.out / job.name, job.options.title)
    store_tables.write_csv(store_tables.arrow(job.points, types(job.points)), job.out / f"{job.name}.csv")
    write_bytes(job.out / f"{job.name}.md", (caption(named, job.options, job.data) + "\n").encode())
