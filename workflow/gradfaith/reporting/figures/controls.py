"""Every method against every control, metric by metric: what pictures alone cannot show.

One row of panels per architecture, one column per metric, one line per method; controls are grey and hollow. A method's
shuffled copies are a small grey cross on its own line, without their interval. The band is the interval of the first
method: a control inside it knows nothing and scores alike. Where there are more methods than colours, the lines name them
and the legend does not. Intervals that overlap do not settle
a comparison, and those that do not are not a test: contrasts, paired by image, are in the table. Only the primary variant
of each metric is drawn; of an agreement metric also its chance level, the same maps compared between different images.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import theme
from gradfaith.reporting.figures.contract import Figure, Given
from gradfaith.vocabulary import SHUFFLED

FIGURE = Figure(needs=("estimates", "manifest"))
Look = Mapping[str, tuple[str, str]]  # method -> colour and marker
LINE = 0.14  # inches
CHANCE: dict[str, Any] = {"color": theme.INK, "marker": "|", "markersize": 6, "markeredgewidth": 1, "zorder": 5}
COPIES: dict[str, Any] = {"color": theme.GREY, "marker": "x", "markersize": 3.4, "markeredgewidth": 1, "zorder": 2.5}
CROSSES = "Crosses: intervals of the shuffled copies are in maps.csv."


def draw(given: Given, *, metrics: tuple[str, ...] = ()) -> theme.Page:
    table = metric_rows.whole(given.tables["estimates"])
    shown = metric_rows.present(table, metrics, given.primary["metric"])
    archs = [name for name in given.architectures if name in set(table["arch"])]
    table = table[table["metric"].isin(shown)]
    every = metric_rows.methods(table, given.controls)
    methods = [
        name for name in every if name.removeprefix(SHUFFLED) == name or name.removeprefix(SHUFFLED) not in every
    ]
    look = _look(methods, given.controls)
    figure = theme.page(0.9 + len(archs) * (0.32 + LINE * len(methods)))
    panels = figure.subplots(len(archs), len(shown), sharex="col", sharey=True, squeeze=False)
    drawn: list[pd.DataFrame] = []
    cut = False
    for column, metric in enumerate(shown):
        whole, chance = metric_rows.of_metric(table, metric), metric_rows.of_metric(table, metric, metric_rows.CHANCE)
        own, copies = whole[whole["method"].isin(methods)], whole[~whole["method"].isin(methods)]
        shown_part = theme.window(own, *chance["value"], *copies["value"])
        drawn, cut = [*drawn, own], cut or theme.beyond(own, shown_part)
        for line, arch in enumerate(archs):
            mine, moved, level = (part[part["arch"] == arch] for part in (own, copies, chance))
            _panel(panels[line, column], mine, moved, level, methods, look, shown_part)
        panels[-1, column].set(xlabel=_words(metric, own), xlim=shown_part)
    for line, arch in enumerate(archs):
        panels[line, 0].set_title(arch, fontweight="bold")
        panels[line, 0].set(yticks=range(len(methods)), yticklabels=methods, ylim=(len(methods) - 0.4, -0.6))
    folded = len(methods) < len(every)
    theme.legend(figure, _legend(look, folded, metric_rows.CHANCE in set(table["variant"])))
    basis = theme.basis(pd.concat(drawn), given.level, theme.kind(given.tables["manifest"]))
    theme.note(figure, basis, " ".join(filter(None, (CROSSES if folded else "", theme.ARROWS if cut else ""))))
    return figure


def _look(methods: Sequence[str], controls: Sequence[str]) -> Look:
    knowing = [name for name in methods if not metric_rows.is_control(name, controls)]
    return dict.fromkeys(methods, (theme.GREY, "o")) | theme.palette(knowing)


def _panel(
    axes: Axes, own: pd.DataFrame, copies: pd.DataFrame, chance: pd.DataFrame, methods: Sequence[str], look: Look,
    shown: theme.Window,
) -> None:  # fmt: skip
    here, moved, level = (metric_rows.by(part, "method") for part in (own, copies, chance))
    axes.grid(axis="x")
    axes.tick_params(axis="x", labelsize=6.8)
    axes.xaxis.set_major_locator(MaxNLocator(3, min_n_ticks=2))
    first = methods[0]
    if first in here and pd.notna(here[first]["low"]):
        axes.axvspan(here[first]["low"], here[first]["high"], color=look[first][0], alpha=0.1, linewidth=0)
    for place, method in enumerate(methods):
        colour, marker = look[method]
        for found, mark in ((level.get(method), CHANCE), (moved.get(SHUFFLED + method), COPIES)):
            if found is not None and pd.notna(found["value"]):
                axes.plot(found["value"], place, linewidth=0, **mark)
        if method in here and pd.notna(here[method]["value"]):
            theme.dot(axes, here[method], place, colour, marker, control=colour == theme.GREY, shown=shown)
        else:
            why = _missing(here[method]) if method in here else "not measured"
            axes.text(0.02, place, why, transform=axes.get_yaxis_transform(), va="center", fontsize=6, color=theme.GREY)


def _missing(row: metric_rows.Row) -> str:
    """Why there is no number: the commonest status."""
    return max(("undefined", "degenerate", "failed"), key=lambda status: int(row.get(f"n_{status}", 0)))


def _words(metric: str, own: pd.DataFrame) -> str:
    variant = next(iter(own["variant"]), "")
    return metric_rows.words(metric) + (f"\n({variant})" if variant else "")


def _legend(look: Look, folded: bool, chance: bool) -> list[Line2D]:
    named = [theme.swatch(name, *mark) for name, mark in look.items() if mark[0] != theme.GREY]
    entries = named if len(named) <= len(theme.COLOURS) else [theme.swatch("methods, in colour", theme.ACCENT)]
    entries.append(theme.swatch("controls, which know nothing", theme.GREY, control=True))
    if folded:
        entries.append(Line2D([], [], linewidth=0, label="the line's own maps, shuffled", **COPIES))
    if chance:
        entries.append(Line2D([], [], linewidth=0, label="chance level: between different images", **CHANCE))
    return entries
