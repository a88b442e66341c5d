"""The report as one Markdown text, section by section; what it says comes from the plan and the tables."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bnbench.core.markdown import escape, heading, image, table
from bnbench.figures.figure_kind import plot_data
from bnbench.figures.source import Source
from bnbench.figures.usable_range import margin, table_rows
from bnbench.params.layers import activations, norms
from bnbench.params.study_schema import Figure
from bnbench.plan.record import PlanRecord
from bnbench.report import published, run_lists
from bnbench.report.result_tables import result
from bnbench.tables import labels
from bnbench.tables.files import CONFIG

TITLE = "What batch normalisation really does"
INTERVALS = "Means over seeds and half their 95 % t intervals, or the whole where it ends at a limit"
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
    """All that a report is made of."""

    plan: dict[str, Any]
    record: PlanRecord
    runs: pd.DataFrame
    summary: pd.DataFrame
    tables: Path
    figures: Path
    folder: str  # of the figures, as seen from the report

    @property
    def titles(self) -> dict[str, str]:
        """Titles of the data sets."""
        return {name: dataset["title"] for name, dataset in self.plan["datasets"].items()}


def markdown(inputs: Inputs) -> str:
    """The whole report."""
    parts = [text for section in SECTIONS for text in section(inputs)]
    return "\n\n".join(parts) + "\n"


def in_order(inputs: Inputs) -> list[str]:
    """The studies as the report shows them: C3 before C10."""
    return sorted(inputs.plan["studies"], key=labels.natural)


def overview(inputs: Inputs) -> list[str]:
    """Which tier this is, and the studies with their counts."""
    rows = []
    for name in in_order(inputs):
        study = inputs.plan["studies"][name]
        status = inputs.runs.loc[inputs.runs["study"] == name, "status"]
        ok, diverged = int((status == "ok").sum()), int((status == "diverged").sum())
        counts = [len(status), ok, diverged, len(status) - ok - diverged]
        rows.append([_title(inputs, name), study["work"], *map(labels.number, counts)])
    return [
        heading(2, "Overview", "overview"),
        f"This report shows the tier **{escape(inputs.plan['tier'])}**: {escape(inputs.plan['about'])}.",
        table(["Study", "Work", "Runs", "Ok", "Diverged", "Failed"], rows, numbers=4),
    ]


def studies(inputs: Inputs) -> list[str]:
    """A section for each study."""
    return [
        text
        for index, name in enumerate(in_order(inputs))
        for part in STUDY
        for text in part(inputs, name, f"study-{index + 1}")
    ]


def question(inputs: Inputs, name: str, anchor: str) -> list[str]:
    """What is asked, and of how many runs."""
    study = inputs.plan["studies"][name]
    return [heading(2, _title(inputs, name), anchor), escape(study["question"])]


def _title(inputs: Inputs, name: str) -> str:
    """A study's title; with the data really used, where these are not what the study is about."""
    study = inputs.plan["studies"][name]
    used = inputs.runs.loc[inputs.runs["study"] == name, "dataset"]
    note = f" (on {labels.data_used(used, study['data'], inputs.titles)})" if set(used) - set(study["data"]) else ""
    return f"{name}: {study['title']}{note}"


def setting_tables(inputs: Inputs, name: str, anchor: str) -> list[str]:
    """What varies and what is fixed."""
    runs = labels.titled(inputs.runs[inputs.runs["study"] == name], inputs.titles)
    varied = [column for column in CONFIG if runs[column].nunique(dropna=False) > 1]
    fixed = [column for column in CONFIG if column not in varied and meaningful(runs, column)]
    varying = [[labels.column(c), ", ".join(labels.short(c, v) for v in labels.ordered(c, runs[c]))] for c in varied]
    pairs = [[labels.column(column), labels.short(column, runs[column].iloc[0])] for column in fixed]
    half = (len(pairs) + 1) // 2
    left, right = pairs[:half], [*pairs[half:], ["", ""]][:half]
    parts = [heading(3, "Settings", f"{anchor}-settings")]
    if varying:
        parts.append(table(["Varied", "Values"], varying))
    rows = [[*one, *other] for one, other in zip(left, right, strict=True)]
    return [*parts, table(["Fixed", "Value", "Fixed", "Value"], rows)]


def meaningful(runs: pd.DataFrame, column: str) -> bool:
    """Whether a setting plays a part in any of the runs."""
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


def result_table(inputs: Inputs, name: str, anchor: str) -> list[str]:
    """Means over seeds."""
    cells = labels.titled(inputs.summary[inputs.summary["study"] == name], inputs.titles)
    found = result(cells)
    note = found.note or f"{INTERVALS}; diverged runs are in no mean."
    return [
        heading(3, "Results", f"{anchor}-results"),
        table(found.header, found.rows, numbers=found.numbers),
        f"{escape(note)} {_way(anchor)}",
    ]


def _way(anchor: str) -> str:
    return f"[The runs behind each row](#{anchor}-runs)."


def published_values(inputs: Inputs, name: str, anchor: str) -> list[str]:
    """What was published, beside what was found here."""
    study = inputs.plan["studies"][name]
    if not study["published"]:
        return []
    parts = published.tables(
        study, Source.read(inputs.tables, inputs.record, name), f"{anchor}-published", inputs.titles
    )
    note = f"{INTERVALS}, in the tier {inputs.plan['tier']}."
    return [heading(3, "Published and here", f"{anchor}-published"), *parts, f"{escape(note)} {_way(anchor)}"]


def usable_values(inputs: Inputs, name: str, anchor: str) -> list[str]:
    """The usable ranges that the study's figures show."""
    parts = []
    for raw in inputs.plan["studies"][name]["figures"].values():
        options = Figure.model_validate(raw)
        if options.within is None:
            continue
        plot = plot_data(Source.read(inputs.tables, inputs.record, name), options, inputs.titles)
        rule = f"Usable: no run fails, and the mean is at most {margin(options)} from the best of its row."
        parts += [table(*table_rows(plot), numbers=2), escape(rule)]
    return [heading(3, "Usable ranges", f"{anchor}-usable"), *parts] if parts else []


def study_figures(inputs: Inputs, name: str, anchor: str) -> list[str]:
    """The study's figures with their captions."""
    parts = []
    for index, figure in enumerate(inputs.plan["studies"][name]["order"]):
        place = labels.figure_place(name, figure)
        caption = (inputs.figures / f"{place}.md").read_text(encoding="utf-8").strip()
        parts.append(image(f"{inputs.folder}/{place}.svg", caption, f"{anchor}-figure-{index + 1}"))
    return [heading(3, "Figures", f"{anchor}-figures"), *parts] if parts else []


def behind_rows(inputs: Inputs) -> list[str]:
    """The runs behind each row of the studies' tables."""
    parts = [heading(2, "The runs behind each row", "runs")]
    parts.append("The beginning of a run's id is enough to ask where it comes from, and whether it comes out the same:")
    parts.append("    bnbench explain RUN\n    bnbench explain RUN --check")
    for index, name in enumerate(in_order(inputs)):
        study, runs = inputs.plan["studies"][name], inputs.runs[inputs.runs["study"] == name]
        parts.append(heading(3, _title(inputs, name), f"study-{index + 1}-runs"))
        parts += run_lists.lists(study, runs, inputs.titles)
    return parts


def data_sets(inputs: Inputs) -> list[str]:
    """The data sets that the runs use, with their licences."""
    used = set(inputs.runs["dataset"])
    rows = [
        [content["title"], content["licence"]]
        for name, content in sorted(inputs.plan["datasets"].items())
        if name in used
    ]
    return [heading(2, "Data sets", "data-sets"), table(["Data set", "Licence"], rows)]


def augmentations(inputs: Inputs) -> list[str]:
    """The contact sheets of the augmentations that the runs use."""
    parts = []
    for index, entry in enumerate(inputs.plan["augmentations"]):
        name = labels.contact_sheet(entry["dataset"], entry["augmentation"])
        caption = (inputs.figures / f"{name}.md").read_text(encoding="utf-8").strip()
        parts.append(image(f"{inputs.folder}/{name}.svg", caption, f"augmentation-{index + 1}"))
    return [heading(2, "Augmentation", "augmentation"), *parts] if parts else []


def environment(inputs: Inputs) -> list[str]:
    """Where the runs were made."""
    columns = ["torch", "cpu", "device", "threads", "products"]
    counts = inputs.runs.drop_duplicates("run_id").groupby(columns).size().reset_index(name="runs")
    rows = [
        [row["torch"], row["cpu"], row["device"], str(row["threads"]), row["products"], labels.number(row["runs"])]
        for _, row in counts.iterrows()
    ]
    header = ["PyTorch", "Processor", "Device", "Threads a run", "Products", "Runs"]
    return [heading(2, "Environment", "environment"), table(header, rows, numbers=2)]


def reproduce(inputs: Inputs) -> list[str]:
    """How to make this report again."""
    return [
        heading(2, "How to reproduce", "reproduce"),
        "From a fresh clone with Python 3.11 or newer, `make` sets everything up and runs the tier `quick`. "
        "Once that is done, this report's tier is run by",
        f"    snakemake --config tier={inputs.plan['tier']}",
        "Only runs that are missing are trained. On the same processor with the same PyTorch the numbers are "
        "the same to the last bit; elsewhere they may differ as between seeds.",
    ]


def words(_inputs: Inputs) -> list[str]:
    """The words that the report uses."""
    rows = [
        ["run", "one training with one complete configuration, its seed included"],
        ["pack", "runs of the same shape that one job trains side by side; it never changes a result"],
        ["study", "a question with a base configuration, a grid of runs and figures"],
        ["tier", "how big the studies are run: quick, small, or full as published"],
        ["diverged", "a run whose loss became infinite or far larger than that of chance; it is in no mean"],
        [
            "95 % t interval",
            "where the mean over all possible seeds lies, if results vary normally with the seed",
        ],
    ]
    return [heading(2, "Words", "words"), table(["Word", "Meaning"], rows)]


Section = Callable[[Inputs], list[str]]
StudySection = Callable[[Inputs, str, str], list[str]]
# The order of the report. Claims will be a section.
SECTIONS: tuple[Section, ...] = (
    *(overview, studies, data_sets, augmentations, environment, reproduce, words, behind_rows),
)
STUDY: tuple[StudySection, ...] = (
    question,
    setting_tables,
    result_table,
    published_values,
    usable_values,
    study_figures,
)
