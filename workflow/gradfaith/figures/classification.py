"""Sensitivity, specificity and F1 by architecture, each with its interval: Figure 1 of the paper, with what it left out.

Macro averages over the classes, on the test part, from stats/classification.py. The dotted line is a classifier that
ignores the image: macro sensitivity 1/k and specificity 1 - 1/k, whether it guesses or always gives one class.
"""

from gradfaith.figures import rows, theme
from gradfaith.figures.contract import Figure, Given

FIGURE = Figure(needs=("classification", "manifest"))
CHANCE = {
    "sensitivity": lambda k: 1 / k,
    "recall": lambda k: 1 / k,
    "specificity": lambda k: 1 - 1 / k,
    "balanced_accuracy": lambda k: 1 / k,
}


def draw(given: Given, *, metrics: tuple[str, ...] = ("sensitivity", "specificity", "f1")) -> theme.Figure:
    table, archs = given.tables["classification"], list(given.architectures)
    table = rows.overall(table)
    table = table[table["metric"].isin(metrics) & table["arch"].isin(archs)]
    figure, look = theme.page(0.95 + 0.3 * len(archs)), theme.palette(archs)
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        own = table[table["metric"] == metric].set_index("arch")
        axes.set(title=theme.words(metric), xlim=(-0.02, 1.02), xticks=(0, 0.25, 0.5, 0.75, 1))
        axes.set_xticklabels(["0", ".25", ".5", ".75", "1"])
        axes.grid(axis="x")
        if metric in CHANCE:
            axes.axvline(CHANCE[metric](len(given.classes)), color=theme.GREY, linestyle=":", linewidth=1)
        for place, arch in enumerate(archs):
            if arch in own.index:
                theme.dot(axes, own.loc[arch], place, *look[arch])
    panels[0].set(yticks=range(len(archs)), yticklabels=archs, ylim=(len(archs) - 0.5, -0.5))
    theme.note(
        figure,
        theme.basis(table, given.level, theme.kind(given.tables["manifest"])),
        "Dotted: a classifier that ignores the image.",
    )
    return figure
