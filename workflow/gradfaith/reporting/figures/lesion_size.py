"""Localization by lesion size: terciles of the lesions among the explained images (stats/estimates.py).

Colours are architectures, each beside its own control, grey and hollow. Every localization metric depends on
size by itself: the chance level of the saliency score is |M| / N. So a rising line means nothing unless it
leaves its control's line behind. A control is drawn per architecture, because the maps' grid and the
explained images may differ.
"""

import pandas as pd
from matplotlib.axes import Axes

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.stats.estimates import LESION_SIZES, lesion_size

FIGURE = Figure(
    needs=("estimates", "manifest", "scores"),
    section="Methods and controls",
    place=3,
    title="Localization by lesion size",
)
PLUGINS = ("locacc", "saliency_score", "iou_area_matched")  # whose labels are shown unless the option names others


def draw(
    inputs: FigureInputs,
    *,
    method: str = "",
    control: str = "random-grid",
    metrics: tuple[str, ...] = (),
) -> theme.Page:
    method = method or inputs.primary.method
    table = metric_rows.rows_of_single_architectures(inputs.tables["estimates"])
    table = table[(table["by"] == "lesion_size") & table["method"].isin((method, control))]
    shown, archs = (
        metric_rows.metrics_to_show(table, inputs.metrics, wanted=metrics, plugins=PLUGINS),
        list(inputs.architectures),
    )
    figure, look = theme.new_page(2.9), theme.palette(archs)
    panels = figure.subplots(1, max(len(shown), 1), squeeze=False)[0]
    ticks = stratum_labels(inputs.tables["manifest"], inputs.tables["scores"])
    cut, step = False, min(0.22, 0.8 / len(archs))
    for axes, metric in zip(panels, shown, strict=False):
        rows = metric_rows.rows_of_metric(table, metric)
        low, high = theme.axis_range(rows)
        part = min(0.0, low), high
        cut = cut or theme.any_interval_beyond(rows, part)
        for place, arch in enumerate(archs):
            shift = (place - (len(archs) - 1) / 2) * step
            here = rows[rows["arch"] == arch]
            _draw_line(
                axes, here[here["method"] == control], shift + step / 3, theme.GREY, look[arch][1], part, control=True
            )
            _draw_line(axes, here[here["method"] == method], shift, *look[arch], part)
        axes.set(
            title=metric_rows.display_label(metric, inputs.metrics),
            xticks=range(len(LESION_SIZES)),
            xlim=(-0.5, len(LESION_SIZES) - 0.5),
        )
        axes.set_xticklabels(ticks)
        axes.set_ylim(part)
        axes.grid(axis="y")
    entries = [theme.legend_entry(arch, *look[arch]) for arch in archs]
    theme.add_legend(figure, [*entries, theme.legend_entry(control, theme.GREY, control=True)])
    basis = theme.describe_basis(
        table[table["metric"].isin(shown)], inputs.level, metric_rows.group_noun(inputs.tables["manifest"])
    )
    colours = f"In colour: {method}; grey: {control}, with the marker of the architecture it stands beside."
    theme.add_note(figure, colours, basis, theme.ARROW_NOTE if cut else "")
    return figure


def stratum_labels(manifest: pd.DataFrame, scores: pd.DataFrame) -> list[str]:
    """Return a label per stratum: its name, bounds in pixels, and number of images."""
    stratum = lesion_size(manifest, scores["image_id"])
    pixels = manifest.set_index("image_id")["lesion_px"].reindex(stratum.index)
    texts = []
    for size in LESION_SIZES:
        rows = pixels[stratum == size]
        texts.append(f"{size}\n{rows.min()}\u2013{rows.max()} px\n{len(rows)} images" if len(rows) else f"{size}\nnone")
    return texts


def _draw_line(
    axes: Axes,
    rows: pd.DataFrame,
    shift: float,
    colour: str,
    marker: str,
    part: theme.AxisRange,
    *,
    control: bool = False,
) -> None:
    here = metric_rows.index_rows(rows[rows["value"].notna()], "stratum")
    there = {place + shift: here[size] for place, size in enumerate(LESION_SIZES) if size in here}
    axes.plot(
        list(there),
        [row["value"] for row in there.values()],
        color=colour,
        linewidth=0.7,
        alpha=0.6,
        linestyle=":" if control else "-",
        zorder=2,
    )
    for place, row in there.items():
        theme.draw_estimate(axes, row, place, colour, marker, control=control, upright=True, shown=part)
