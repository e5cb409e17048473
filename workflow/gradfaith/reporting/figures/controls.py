"""Every method against every control, metric by metric: what images of maps alone cannot show.

One panel per metric, one row per method; in a row the architectures stand side by side. Methods are above the line, controls
below it, grey and hollow. Both groups are sorted by the study's primary metric, or else the first metric shown: best first,
averaged over the architectures. A method's shuffled copies are a small grey cross beside it, without their interval.

Overlapping intervals do not settle a comparison, and separate intervals are not a test: contrasts, paired by
image, are in the table. Only the primary variant of each metric is drawn; for an agreement metric also its
chance level, the same maps compared between different images.
"""

from collections.abc import Sequence
from math import ceil
from typing import Any, Literal

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import marks, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.vocabulary import BETWEEN_IMAGES, NOT_OK, SHUFFLED

FIGURE = Figure(
    needs=("estimates", "manifest"),
    section="Methods and controls",
    place=1,
    title="Methods against controls",
)
ARCH_INCHES, ROW_INCHES = 0.068, 0.06  # of a row: for each architecture, and the gap to the next row
ABREAST = {"single": 2, "double": 5}  # panels side by side, at most
BEST_FIRST = {"higher": -1.0, "lower": 1.0, "neither": -1.0}
CHANCE_MARK: dict[str, Any] = {"color": theme.INK, "marker": "|", "zorder": 5}
COPIES_MARK: dict[str, Any] = {"color": theme.GREY, "marker": "x", "zorder": 2.5}
CROSSES_NOTE = "Crosses: maps.csv has the intervals of the shuffled copies."
ORDER_NOTE = "Methods, then controls, each sorted by {metric}."


def draw(
    inputs: FigureInputs, *, metrics: tuple[str, ...] = (), width: Literal["single", "double"] = "double"
) -> theme.Page:
    table = metric_rows.rows_over_all_images(inputs.tables["estimates"])
    shown = metric_rows.metrics_to_show(table, inputs.metrics, wanted=metrics, primary=inputs.primary.metric)
    table = table[table["metric"].isin(shown)]
    look = theme.palette([name for name in inputs.architectures if name in set(table["arch"])])
    every = metric_rows.methods_in_display_order(table, inputs.controls)
    sort_by = inputs.primary.metric if inputs.primary.metric in shown else shown[0]
    rows = sorted_rows(table, [name for name in every if not _is_folded(name, every)], sort_by, inputs)
    abreast = min(ABREAST[width], len(shown))
    row_inches = ROW_INCHES + ARCH_INCHES * len(look)
    height = 0.95 + ceil(len(shown) / abreast) * (0.45 + row_inches * len(rows))
    figure = theme.new_page(height, theme.WIDTHS[width])
    panels = figure.subplots(ceil(len(shown) / abreast), abreast, sharey=True, squeeze=False)
    drawn = [
        _draw_metric(axes, inputs, table, metric, rows, look) for axes, metric in zip(panels.flat, shown, strict=False)
    ]
    for axes in panels.flat[len(shown) :]:
        axes.set_visible(False)
    _label_rows(panels, rows, inputs.controls)
    folded = len(rows) < len(every)
    theme.add_legend(figure, _legend_entries(look, folded, BETWEEN_IMAGES in set(table["variant"])))
    basis = theme.describe_basis(
        pd.concat([own for own, _ in drawn]), inputs.level, metric_rows.group_noun(inputs.tables["manifest"])
    )
    order = ORDER_NOTE.format(metric=metric_rows.display_label(sort_by, inputs.metrics))
    notes = (order, CROSSES_NOTE if folded else "", theme.ARROW_NOTE if any(cut for _, cut in drawn) else "")
    theme.add_note(figure, basis, " ".join(filter(None, notes)))
    return figure


def sorted_rows(table: pd.DataFrame, methods: Sequence[str], metric: str, inputs: FigureInputs) -> list[str]:
    """Return the methods, then the controls, each best first by the mean over architectures; those without a value last."""
    values = metric_rows.rows_of_metric(table, metric).groupby("method")["value"].mean()
    sign = BEST_FIRST[inputs.better.get(metric, "neither")]

    def place(method: str) -> tuple[bool, float]:
        value = sign * float(values.get(method, np.nan))
        return metric_rows.is_control(method, inputs.controls), value if pd.notna(value) else np.inf

    return sorted(methods, key=place)


def _is_folded(method: str, every: Sequence[str]) -> bool:
    """Return whether a method is the shuffled copy of another one of the figure."""
    return method.startswith(SHUFFLED) and method.removeprefix(SHUFFLED) in every


def _draw_metric(
    axes: Axes, inputs: FigureInputs, table: pd.DataFrame, metric: str, rows: Sequence[str], look: theme.Marks
) -> tuple[pd.DataFrame, bool]:
    """Draw a panel; return the rows drawn with intervals, and whether an interval is cut."""
    place = {method: float(number) for number, method in enumerate(rows)}
    offset = marks.spread_offsets(list(look), 0.8 / max(len(look), 2))
    whole, chance = (metric_rows.rows_of_metric(table, metric, variant) for variant in (None, BETWEEN_IMAGES))
    estimates, copies = (whole[whole["method"].isin(rows) == own] for own in (True, False))
    shown = theme.axis_range(estimates, *chance["value"], *copies["value"], bounds=inputs.range_of(metric))
    for own, mark, size in ((chance, CHANCE_MARK, 26), (copies, COPIES_MARK, 12)):
        base = own["method"].str.removeprefix(SHUFFLED) if mark is COPIES_MARK else own["method"]
        points = own.assign(at=base.map(place) + own["arch"].map(offset)).dropna(subset=["value", "at"])
        seaborn.scatterplot(
            points, x="value", y="at", s=size, linewidth=1, legend=False, clip_on=False, ax=axes, **mark
        )
    control = estimates["method"].map(lambda method: metric_rows.is_control(method, inputs.controls)).astype(bool)
    at = estimates["method"].map(place) + estimates["arch"].map(offset)
    marks.draw_estimates(
        axes, estimates.assign(at=at, name=estimates["arch"], control=control), marks.Marks(look, shown=shown, size=3.6)
    )
    _write_missing(axes, estimates, place, offset)
    for number in range(1, len(rows), 2):
        axes.axhspan(number - 0.5, number + 0.5, color=theme.PALE, alpha=0.35, linewidth=0, zorder=0)
    axes.xaxis.set_major_locator(MaxNLocator(3, min_n_ticks=2))
    name = metric_rows.display_label(metric, inputs.metrics)
    axes.set(
        xlim=shown, ylabel="", xlabel=theme.metric_axis_label(_with_variant(name, whole), inputs.better.get(metric, ""))
    )
    axes.grid(axis="x")
    return estimates, theme.any_interval_beyond(estimates, shown)


def _write_missing(axes: Axes, rows: pd.DataFrame, place: dict[str, float], offset: dict[str, float]) -> None:
    """Write in every row without a value why it has none, in the middle of the architectures that have none."""
    have = set(zip(*(rows.loc[rows["value"].notna(), name] for name in ("method", "arch")), strict=True))
    look: dict[str, Any] = {"va": "center", "fontsize": 5, "color": theme.GREY}
    for method, at in place.items():
        without = [arch for arch in offset if (method, arch) not in have]
        if without:
            lost = rows[(rows["method"] == method) & rows["arch"].isin(without)]
            why = _commonest_status(lost) if len(lost) else "not measured"
            middle = at + float(np.mean([offset[arch] for arch in without]))
            axes.text(0.02, middle, why, transform=axes.get_yaxis_transform(), **look)


def _commonest_status(rows: pd.DataFrame) -> str:
    """Return why there is no number: the most frequent status."""
    return max(NOT_OK, key=lambda status: int(rows[f"n_{status}"].sum() if f"n_{status}" in rows else 0))


def _label_rows(panels: Any, rows: Sequence[str], controls: Sequence[str]) -> None:
    """Name the rows, controls in grey, with a line between methods and controls."""
    first = sum(not metric_rows.is_control(name, controls) for name in rows)
    for axes in panels.flat:
        axes.set(yticks=range(len(rows)), ylim=(len(rows) - 0.4, -0.6))
        if 0 < first < len(rows):
            axes.axhline(first - 0.5, color=theme.GREY, linewidth=0.6, zorder=1)
    for axes in panels[:, 0]:
        axes.set_yticklabels(rows)
        for label in axes.get_yticklabels()[first:]:
            label.set_color(theme.GREY)


def _with_variant(name: str, rows: pd.DataFrame) -> str:
    variant = next(iter(rows["variant"]), "")
    return name + (f"\n({metric_rows.VARIANT_WORDS.get(variant, variant)})" if variant else "")


def _legend_entries(look: theme.Marks, folded: bool, chance: bool) -> list[Line2D]:
    entries = [*marks.architecture_entries(look)]
    entries.append(marks.legend_entry("controls, which do not use the model", theme.GREY, control=True))
    if folded:
        entries.append(Line2D([], [], linewidth=0, label="the same maps, shuffled", markersize=3.4, **COPIES_MARK))
    if chance:
        entries.append(Line2D([], [], linewidth=0, label="chance level: between different images", **CHANCE_MARK))
    return entries
