"""The decision boundary of each model in two of the features, all others held at their median or commonest category.

Colour: the answer. The black line is the boundary between the classes, for a regression the mean target. Points are the test rows, with
their true class; they differ in all other features too, so a point on the other side is no error by itself.
"""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from gradfaith.data.tabular.columns import FEATURE
from gradfaith.reporting.figures import explained_rows, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs

FIGURE = Figure(
    needs=("boundary", "table", "splits", "audit", "predictions"),
    section="Explained rows",
    place=8,
    title="Decision boundary",
)
ANSWERS = LinearSegmentedColormap.from_list("answers", [theme.LOWERS, "#ffffff", theme.RAISES])


def draw(inputs: FigureInputs) -> theme.Page:
    grids = inputs.tables["boundary"]
    if grids.empty:
        return theme.sentence_page("The table has fewer than two numeric features, so there is no boundary to draw.")
    table = inputs.tables["table"].merge(inputs.tables["splits"], on="image_id")
    test = table[table["part"] == "test"]
    target = test["target"].to_numpy(np.float64)
    is_class = bool(inputs.audit["positive"])
    middle = _middle(inputs, is_class, float(target.mean()))
    figure = theme.new_page(2.3)
    panels = figure.subplots(1, len(inputs.architectures), squeeze=False, sharey=True)[0]
    reach = float(np.quantile(np.abs(grids["answer"] - middle), 0.95)) or 1.0
    for axes, arch in zip(panels, inputs.architectures, strict=True):
        own = grids[(grids["arch"] == arch) & (grids["seed"] == min(inputs.seeds))]
        x, y = np.unique(own["x"]), np.unique(own["y"])
        answers = own.pivot_table(index="y", columns="x", values="answer").to_numpy()
        axes.pcolormesh(
            x,
            y,
            answers,
            cmap=ANSWERS,
            vmin=middle - reach,
            vmax=middle + reach,
            shading="nearest",
            alpha=0.6,
            rasterized=True,
        )
        if answers.min() < middle < answers.max():
            axes.contour(x, y, answers, levels=[middle], colors=theme.INK, linewidths=1)
        first, second = own["first"].iloc[0], own["second"].iloc[0]
        colours = np.where(target > (0.5 if is_class else target.mean()), theme.RAISES, theme.LOWERS)
        axes.scatter(
            test[FEATURE + first], test[FEATURE + second], c=list(colours), s=4, linewidth=0.2, edgecolor="white"
        )
        axes.set(title=arch, xlabel=first, xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    panels[0].set_ylabel(str(grids["second"].iloc[0]))
    theme.add_note(
        figure,
        f"Colour: the {explained_rows.answer_name(inputs)}, seed {min(inputs.seeds)}. Line: "
        f"{'the boundary between the classes' if is_class else 'the mean target'}. Points: test rows with their true "
        f"{'class' if is_class else 'side of the mean'}.",
    )
    return figure


def _middle(inputs: FigureInputs, is_class: bool, mean: float) -> float:
    """Return the answer on the boundary: log-odds 0, probability 0.5, or the mean target."""
    if not is_class:
        return mean
    found = inputs.tables["boundary"]["answer"]
    return 0.5 if found.between(0, 1).all() else 0.0
