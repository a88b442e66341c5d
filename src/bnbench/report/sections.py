"""Values that the report's template prints, computed from the plan, the tables and the figures' captions."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from bnbench.figures.figure_kind import plot_data
from bnbench.figures.source import Source, Tables
from bnbench.figures.usable_range import margin, table_rows
from bnbench.params.layers import activations, norms
from bnbench.plan.record import PlanRecord, StudyRecord
from bnbench.report import template
from bnbench.report.published import Comparison, compare
from bnbench.report.result_tables import Result, result
from bnbench.report.run_lists import RunLists, lists
from bnbench.report.template import Markdown, Picture, Table
from bnbench.tables import labels
from bnbench.tables.files import CONFIG

TITLE = "What batch normalisation really does"
FIGURES = "figures"  # the folder of figures, relative to the report
HIDDEN = r"C.*\dD-"  # a conv net with a hidden dense layer
NORMALISING = {name for name, spec in norms.NORMS.items() if spec.layer}
# setting -> (another setting, its values): the first means nothing unless the second has one of these values
MEANINGFUL: dict[str, tuple[str, set[str]]] = {
    "momentum": ("optimizer", {"sgd"}),
    "beta1": ("optimizer", {"adam"}),
    "beta2": ("optimizer", {"adam"}),
    "adam_epsilon": ("optimizer", {"adam"}),
    "init_deviation": ("init", {"normal"}),
    "order": ("norm", NORMALISING),
    **{key: ("norm", names) for key, names in norms.USERS.items()},
    **{key: ("activation", names) for key, names in activations.USERS.items()},
}


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Plan, tables and folders that a report is made from."""

    plan: PlanRecord
    runs: pd.DataFrame
    summary: pd.DataFrame
    environment: pd.DataFrame
    tables: Path
    figures: Path

    @cached_property
    def sources(self) -> Tables:
        """All tables, read once for all studies."""
        return Tables(self.tables, self.plan)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Number of a study's runs, in total and by status."""

    runs: int
    ok: int
    diverged: int
    failed: int


@dataclass(frozen=True, kw_only=True)
class UsableRanges:
    """Table of the usable ranges in one figure, and the largest allowed distance from the best value."""

    table: Table
    margin: str


@dataclass(frozen=True, kw_only=True)
class StudySection:
    """Values of a study's section; `anchor` starts the targets of all links into it."""

    anchor: str
    title: str
    work: str | None
    question: str
    data: str  # titles of the data sets that the study is about
    used: str  # titles of those that this tier uses
    other_data: bool  # this tier uses others than the study is about
    counts: Counts
    varied: list[list[str]]  # setting, its values
    fixed: list[list[str]]  # setting, value, setting, value: two columns of pairs
    result: Result
    comparison: Comparison | None
    usable: list[UsableRanges]
    figures: list[Picture]
    lists: RunLists


@dataclass(frozen=True, kw_only=True)
class Report:
    """Values of the whole report, the variables of `report.md.j2`."""

    tier: str
    about: str
    studies: list[StudySection]
    datasets: list[list[str]]  # title, licence
    augmentations: list[Picture]
    environments: list[list[str]]  # processor, device, engine, PyTorch, same on every machine, number of runs


def markdown(inputs: Inputs) -> str:
    """Return the report as Markdown."""
    return template.render("report.md.j2", vars(report(inputs)))


def report(inputs: Inputs) -> Report:
    """Compute the report's values; studies in natural order, C3 before C10."""
    names = sorted(inputs.plan.studies, key=labels.natural)
    return Report(
        tier=inputs.plan.tier,
        about=inputs.plan.about,
        studies=[Study(inputs, name).section(f"study-{index}") for index, name in enumerate(names, 1)],
        datasets=data_sets(inputs),
        augmentations=augmentations(inputs),
        environments=environments(inputs),
    )


@dataclass(frozen=True)
class Study:
    """A study of the plan with its rows of the tables."""

    inputs: Inputs
    name: str

    @property
    def record(self) -> StudyRecord:
        """The study's part of the plan."""
        return self.inputs.plan.studies[self.name]

    @property
    def titles(self) -> dict[str, str]:
        """Titles of the data sets, by name."""
        return self.inputs.plan.titles

    @cached_property
    def runs(self) -> pd.DataFrame:
        """The study's rows of the table of runs."""
        return self.inputs.runs[self.inputs.runs["study"] == self.name]

    @cached_property
    def source(self) -> Source:
        """The study's part of all tables, as figures read it."""
        return self.inputs.sources.study(self.name)

    def section(self, anchor: str) -> StudySection:
        """Compute the values of the study's section."""
        cells = self.inputs.summary[self.inputs.summary["study"] == self.name]
        varied, fixed = self.settings()
        used, planned = sorted(set(self.runs["dataset"])), self.record.data
        return StudySection(
            anchor=anchor,
            title=f"{self.name}: {self.record.title}",
            work=self.record.work,
            question=self.record.question,
            data=labels.joined([self.titles.get(name, name) for name in planned]),
            used=labels.joined([self.titles.get(name, name) for name in used]),
            other_data=not set(used) <= set(planned),
            counts=self.counts(),
            varied=varied,
            fixed=fixed,
            result=result(labels.titled(cells, self.titles)),
            comparison=compare(self.record.published, self.source) if self.record.published else None,
            usable=list(self.usable()),
            figures=[_picture(self.inputs, labels.figure_place(self.name, name)) for name in self.record.order],
            lists=lists(self.record, self.runs, self.titles),
        )

    def counts(self) -> Counts:
        """Count the study's runs by status."""
        status = self.runs["status"]
        ok, diverged = int((status == "ok").sum()), int((status == "diverged").sum())
        return Counts(runs=len(status), ok=ok, diverged=diverged, failed=len(status) - ok - diverged)

    def settings(self) -> tuple[list[list[str]], list[list[str]]]:
        """Return the rows of the settings that vary, and those of the fixed settings that have an effect."""
        runs = labels.titled(self.runs, self.titles)
        varied = [name for name in CONFIG if runs[name].nunique(dropna=False) > 1]
        fixed = [name for name in CONFIG if name not in varied and meaningful(runs, name)]
        values = {name: [labels.short(name, value) for value in labels.ordered(name, runs[name])] for name in varied}
        pairs = [[labels.column(name), labels.short(name, runs[name].iloc[0])] for name in fixed]
        half = (len(pairs) + 1) // 2
        left, right = pairs[:half], [*pairs[half:], ["", ""]][:half]
        rows = [[*one, *other] for one, other in zip(left, right, strict=True)]
        return [[labels.column(name), ", ".join(shown)] for name, shown in values.items()], rows

    def usable(self) -> Iterator[UsableRanges]:
        """Yield the usable ranges of each figure that shows some."""
        for options in self.record.figures.values():
            if options.within is not None:
                plot = plot_data(self.source, options, self.titles)
                yield UsableRanges(table=Table(*table_rows(plot), numbers=2), margin=margin(options))


def meaningful(runs: pd.DataFrame, column: str) -> bool:
    """Return whether a setting has an effect in any of the runs."""
    if column.startswith("lrn_"):
        return bool((runs["norm"].isin(norms.USERS[column]) | runs["model"].str.contains("LRN")).any())
    if column == "norm_dense":
        return bool((runs["norm"].isin(NORMALISING) & runs["model"].str.contains(HIDDEN)).any())
    if column == "max_epochs":  # the number of steps ends the training
        return bool(runs["max_steps"].isna().any())
    if column in ("max_steps", "patience"):
        return bool(runs[column].notna().any())
    if column in MEANINGFUL:
        other, values = MEANINGFUL[column]
        return bool(runs[other].isin(values).any())
    return True


def data_sets(inputs: Inputs) -> list[list[str]]:
    """Return title and licence of each data set that the runs use."""
    used = set(inputs.runs["dataset"])
    return [[dataset.title, dataset.licence] for name, dataset in sorted(inputs.plan.datasets.items()) if name in used]


def augmentations(inputs: Inputs) -> list[Picture]:
    """Return the contact sheets of the augmentations that the runs use."""
    sheets = [labels.contact_sheet(one.dataset, one.augmentation) for one in inputs.plan.augmentations]
    return [_picture(inputs, sheet) for sheet in sheets]


def _picture(inputs: Inputs, name: str) -> Picture:
    """Return a figure and its caption; `name` is its path in the folder of figures, without suffix."""
    caption = (inputs.figures / f"{name}.md").read_text(encoding="utf-8").strip()
    return Picture(f"{FIGURES}/{name}.svg", Markdown(caption))


def environments(inputs: Inputs) -> list[list[str]]:
    """Return the runs' environments, why their results are not the same on every machine, and the number of runs."""
    columns = ["processor", "device", "engine", "instructions", "torch", "reason"]
    counts = inputs.environment[columns].fillna("").value_counts(sort=False).reset_index(name="runs")
    return [
        [
            row["processor"],
            row["device"],
            ", ".join(filter(None, (row["engine"], row["instructions"]))),
            row["torch"],
            f"no: {row['reason']}" if row["reason"] else "yes",
            labels.number(row["runs"]),
        ]
        for _, row in counts.sort_values(columns).iterrows()
    ]
