"""Accuracy against faithfulness: does the better classifier have the more faithful maps?

    x  balanced accuracy of an architecture, with its interval (classification)
    y  Faith's gain over the same maps shuffled, with its interval (contrasts), or Faith itself

A gain of 0 means that where the map shows something does not matter to the model. There are as many points as
architectures: with a handful, no correlation is computed, drawn or claimed.
"""

import pandas as pd
from matplotlib.axes import Axes

from gradfaith.figures import rows, theme
from gradfaith.figures.contract import Figure, Given

FIGURE = Figure(needs=("estimates", "contrasts", "classification", "manifest"))


def draw(given: Given, *, metric: str = "faith", method: str = "", gain: bool = True) -> theme.Page:
    method, archs = method or given.primary["method"], list(given.architectures)
    table = rows.whole(given.tables["contrasts" if gain else "estimates"])
    table = rows.of_metric(table[table["method"] == method], metric)
    faith = table[table["against"] == rows.SHUFFLED + method] if gain else table
    classed = rows.overall(given.tables["classification"])
    accuracy = classed[(classed["metric"] == "balanced_accuracy") & classed["arch"].isin(archs)]
    across, up = rows.by(accuracy, "arch"), rows.by(faith, "arch")
    figure, look = theme.page(3.2, 5.2), theme.palette(archs)
    axes = figure.subplots()
    for arch in archs:
        if arch in across and arch in up:
            _cross(axes, across[arch], up[arch], *look[arch])
    axes.axhline(0, color=theme.GREY, linestyle=":", linewidth=1)
    axes.axvline(1 / len(given.classes), color=theme.GREY, linestyle=":", linewidth=1)
    axes.grid()
    variant = next(iter(table["variant"]), "")
    over = f"gain over shuffled maps\n({method}, {variant})" if gain else f"({method}, {variant})"
    axes.set(xlabel="Balanced accuracy", ylabel=f"{rows.words(metric)}: {over}")
    figure.legend(handles=[theme.swatch(arch, *look[arch]) for arch in archs], loc="outside right upper")
    lines = theme.basis(pd.concat([accuracy, faith]), given.level, theme.kind(given.tables["manifest"]))
    theme.note(figure, lines, f"Dotted: chance. {len(archs)} architectures: no correlation is claimed.")
    return figure


def _cross(axes: Axes, across: rows.Row, up: rows.Row, colour: str, marker: str) -> None:
    x, y = float(across["value"]), float(up["value"])
    sure: bool = pd.notna(across["low"]) and pd.notna(up["low"])
    axes.plot([across["low"], across["high"]], [y, y], color=colour, linewidth=1.3)
    axes.plot([x, x], [up["low"], up["high"]], color=colour, linewidth=1.3)
    face: str = colour if sure else "white"
    axes.plot(x, y, marker=marker, markersize=5, color=colour, markerfacecolor=face, markeredgewidth=1, zorder=4)
