"""The confusion matrix: of the test images of each class, which share is taken for which class."""

import pandas as pd
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import PercentFormatter

from bnbench.figures.facets import arrange, grid, name_panels
from bnbench.figures.plot_data import facets, lines
from bnbench.params.study_schema import Figure
from bnbench.tables import labels

WIDEST = 2  # panels side by side
WRITTEN = 150  # squares of a panel in which the share is still written
TRUE, PREDICTED = "true_class", "predicted_class"


def draw_confusion(frame: pd.DataFrame, options: Figure) -> Drawing:
    """Shares of each true class as colours, in percent in the squares; mean over seeds."""
    import seaborn as sns  # takes a second, which other figures need not wait for

    drawing = Drawing(layout="constrained")
    panels = arrange(frame, options, WIDEST)
    axes = grid(drawing, panels)
    classes = frame[TRUE].nunique()
    columns = 1 + max(panel.place[1] for panel in panels)
    side = drawing.get_size_inches()[0] / columns
    drawing.set_size_inches(side * columns, 0.6 + (1 + max(panel.place[0] for panel in panels)) * 0.86 * side)
    for panel, ax in zip(panels, axes, strict=True):
        table = panel.points.pivot(index=TRUE, columns=PREDICTED, values="mean")
        texts = (100 * table).map(lambda value: labels.DASH if pd.isna(value) else f"{value:.0f}")
        sns.heatmap(
            table,
            ax=ax,
            vmin=0,
            vmax=1,
            cmap="viridis",
            annot=texts.to_numpy() if classes**2 <= WRITTEN else None,
            fmt="",
            annot_kws={"size": 6},
            cbar=False,
            square=True,
        )
        ax.set(xlabel="", ylabel="")
        ax.tick_params(labelrotation=0)
    name_panels(panels, axes, [""] * len(panels))
    bottom = {panel.place[1]: ax for panel, ax in zip(panels, axes, strict=True)}  # a panel is higher than its square
    for ax in bottom.values():
        ax.set_xlabel(labels.column(PREDICTED))
    for panel, ax in zip(panels, axes, strict=True):
        if panel.place[1] == 0:
            ax.set_ylabel(labels.column(TRUE))
    bar = drawing.colorbar(axes[0].collections[0], ax=axes, label="Share of the true class (%)", shrink=0.8)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    return drawing


def said(points: pd.DataFrame, options: Figure) -> list[str]:
    """In words, for each panel: mean over the classes, the best and the worst class, the most frequent confusion."""
    seeds = int(points["n"].max())
    text = [
        f"A row is a class: of its test images, the share taken for each class; mean of {seeds} seeds."
        " On the diagonal stands the accuracy of the class."
    ]
    for values, part in lines(points, facets(options)):
        own = part[part[TRUE] == part[PREDICTED]].set_index(TRUE)["mean"].round(12)  # ties are ties
        wrong = part[part[TRUE] != part[PREDICTED]]
        where = ", ".join(labels.phrase(name, value) for name, value in values.items()) or "All"
        most = wrong.iloc[int(wrong["mean"].round(12).to_numpy(float).argmax())]
        true, taken = int(most[TRUE]), int(most[PREDICTED])
        text.append(
            f"{labels.sentence(where)}: mean over the classes {labels.percent(own.mean(), 2)}; best is class"
            f" {own.idxmax()} ({labels.percent(own.max())}), worst class {own.idxmin()} ({labels.percent(own.min())});"
            f" most often, class {true} is taken for class {taken} ({labels.percent(most['mean'])})."
        )
    return text
