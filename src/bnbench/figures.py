"""Figures: a function for each kind, from the table that it draws to the figure; data and caption beside."""

from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure as Drawing

from bnbench import labels
from bnbench import tables as store_tables
from bnbench import workers as processes
from bnbench.captions import caption
from bnbench.confusion import draw_confusion
from bnbench.contact import contact_caption, draw_contact
from bnbench.curves import draw_curves
from bnbench.data import Augmented
from bnbench.errors import UserError
from bnbench.files import atomic, explained, read_json, write_bytes, write_json
from bnbench.heatmap import draw_heatmap
from bnbench.hyperplanes import draw_hyperplanes
from bnbench.look import STYLE
from bnbench.networks import draw_networks
from bnbench.points import POINTS, Source, types
from bnbench.predictions import draw_predictions
from bnbench.ridges import draw_ridges
from bnbench.schema import Figure
from bnbench.sweeps import draw_sweep

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
WORTH = 4  # figures that take as long to draw as a process to start: a second


@dataclass(frozen=True, kw_only=True)
class Job:
    """A figure to be drawn: everything that a process needs for it."""

    name: str
    points: pd.DataFrame
    options: Figure
    titles: dict[str, str]  # of the data sets
    out: Path


def draw(plan: dict[str, Any], tables: Path, out: Path, workers: int) -> None:
    """Draw all figures of a plan into `out`, on `workers` processes; the identity, beside `out`, comes last.

    Raises:
        UserError: a figure's options do not fit the study's runs.
    """
    identity = out.parent / "identity"
    before = _forget(identity)
    jobs = list_jobs(plan, tables, out)
    workers = min(workers, len(jobs) // WORTH)
    if workers > 1:
        # spawned, not forked: a fork of a process with pyarrow's threads may hang
        with processes.working(workers, get_context("spawn"), save, [(job,) for job in jobs]) as drawn:
            for figure in processes.as_they_end(drawn):
                figure.result()
    else:
        for job in jobs:
            save(job)
    names = sorted([*(job.name for job in jobs), *(save_contact(plan, entry, out) for entry in plan["augmentations"])])
    for name in set(before) - set(names):
        for suffix in SUFFIXES:
            (out / f"{name}.{suffix}").unlink(missing_ok=True)
    content = {"tier": plan["tier"], "figures_id": plan["figures_id"], "figures": names}
    write_json(identity / f"figures-{plan['figures_id']}.json", content)


def _forget(identity: Path) -> list[str]:
    """Remove the identity of earlier figures; return their names."""
    names: list[str] = []
    with explained(identity):
        for old in sorted(identity.glob("figures-*.json")):
            names += read_json(old)["figures"]
            old.unlink()
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
            name = f"{study}_{figure}"
            jobs.append(Job(name=name, points=points, options=options, titles=titles, out=out))
    return jobs


def save_contact(plan: dict[str, Any], entry: dict[str, str], out: Path) -> str:
    """Write the contact sheet of an augmentation as SVG and PNG, and its caption; returns its name."""
    augmented, name = (
        Augmented.read(Path(entry["folder"])),
        labels.contact_sheet(entry["dataset"], entry["augmentation"]),
    )
    title = plan["datasets"][entry["dataset"]]["title"]
    with mpl.rc_context(cast(Any, STYLE)):
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
    with mpl.rc_context(cast(Any, STYLE)):  # its stubs list each name of each setting
        _save(FIGURES[job.options.kind](named, job.options), job.out / job.name, job.options.title)
    store_tables.write_csv(store_tables.arrow(job.points, types(job.points)), job.out / f"{job.name}.csv")
    write_bytes(job.out / f"{job.name}.md", (caption(named, job.options) + "\n").encode())
