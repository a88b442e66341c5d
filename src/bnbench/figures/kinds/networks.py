"""Diagrams of networks: layers, output shapes and numbers of parameters."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import FancyBboxPatch

from bnbench.figures import canvas
from bnbench.figures.figure_kind import FigureKind
from bnbench.figures.network_table import COLUMNS, layer_table
from bnbench.figures.plot_data import PlotData
from bnbench.figures.source import Source, select_runs
from bnbench.figures.style import NORMAL, PAGE_WIDTH, SMALL
from bnbench.params.study_schema import Figure
from bnbench.tables import labels

ACROSS = 6  # boxes side by side
HEIGHT = 0.85  # inches of a row of boxes
COLOURS = {"input": "#f2f2f2", "conv": "#cfe3f2", "pool": "#e8e8e8", "dense": "#fbe3c6", "dropout": "#e8e8e8"}


def data(source: Source, options: Figure) -> pd.DataFrame:
    """Return a row per layer of each distinct network of the runs."""
    runs = select_runs(source.runs, options).drop_duplicates("model")
    found = [source.configs[run_id] for run_id in runs["run_id"]]
    return pd.concat([layer_table(run, source.shapes[run.dataset]) for run in found], ignore_index=True)


def draw(plot: PlotData) -> Drawing:
    """Draw each network as a row of boxes from the image to the classes."""
    points = plot.points
    models = list(dict.fromkeys(points["model"]))
    rows = [-(-int((points["model"] == model).sum()) // ACROSS) for model in models]
    drawing = canvas.new(figsize=(PAGE_WIDTH, sum(HEIGHT * n + 0.35 for n in rows)))
    axes = drawing.subplots(len(models), 1, squeeze=False, height_ratios=rows)[:, 0]
    for model, ax, count in zip(models, axes, rows, strict=True):
        part = points[points["model"] == model].sort_values("stage")
        total = labels.number(int(part["parameters"].sum()))
        ax.set_title(f"{labels.phrase('model', model)}: {total} parameters", loc="left", fontweight="bold")
        ax.set(xlim=(0, ACROSS), ylim=(count, 0))
        ax.axis("off")
        for index, row in enumerate(part.itertuples()):
            _draw_box(ax, (index % ACROSS, index // ACROSS), row, last=index == len(part) - 1)
    return drawing


def _draw_box(ax: Axes, corner: tuple[int, int], row: "tuple[object, ...]", last: bool) -> None:
    """Draw one layer: its name, what follows it, its output's shape, its number of parameters."""
    x, y = corner
    values = dict(zip(("index", *COLUMNS), row, strict=True))
    layer = str(values["name"])
    colour = next(colour for word, colour in COLOURS.items() if word in layer)
    shape = FancyBboxPatch((x + 0.06, y + 0.08), 0.8, 0.8, boxstyle="round,pad=0,rounding_size=0.05", fc=colour)
    shape.set(edgecolor="#888888", linewidth=0.6)
    ax.add_patch(shape)
    count = int(str(values["parameters"]))
    texts = [(layer, NORMAL), *((word, SMALL) for word in str(values["then"]).split(", ") if word)]
    texts += [(str(values["output"]), SMALL)] + ([(labels.number(count), SMALL)] if count else [])
    for index, (text, size) in enumerate(texts):
        weight = "bold" if index == 0 else "normal"
        height = y + 0.48 + (index - (len(texts) - 1) / 2) * min(0.155, 0.72 / len(texts))
        ax.text(x + 0.46, height, text, ha="center", va="center", fontsize=size - 1, fontweight=weight)
    if not last:
        ax.annotate("", (x + 1.06, y + 0.48), (x + 0.86, y + 0.48), arrowprops={"arrowstyle": "->", "lw": 0.8})


def caption(plot: PlotData) -> list[str]:
    """Describe what a box shows, and the number of parameters of each network."""
    text = (
        "Each box is a layer. Below its name stand the operations that follow it, the shape of its output (channels x"
        " height x width) and its number of parameters."
    )
    totals = plot.points.groupby("model", sort=False)["parameters"].sum()
    counts = (f"{labels.phrase('model', model)}: {labels.number(int(n))} parameters." for model, n in totals.items())
    return [text, *map(labels.sentence, counts)]


KIND = FigureKind(data=data, draw=draw, caption=caption)
