"""Localization by lesion size: terciles of the lesions among the explained images (stats/estimates.py).

One row of panels per metric, one column per architecture. In colour the method, in grey and hollow the control of the same
architecture, because the maps' grid and the explained images may differ. Every localization metric depends on size by
itself: the chance level of the saliency score is |M| / N. So a rising line means nothing unless it leaves its control's
line behind.
"""

from typing import Literal

import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import marks, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.stats.estimates import lesion_size
from gradfaith.vocabulary import LESION_SIZES

FIGURE = Figure(
    needs=("estimates", "manifest", "scores"),
    section="Methods and controls",
    place=3,
    title="Localization by lesion size",
)
PLUGINS = ("locacc", "saliency_score", "iou_area_matched")  # whose labels are shown unless the option names others
PANEL_INCHES = 1.3
NOTHING = "No image has a lesion whose size is known, or no localization metric was measured."


def draw(
    inputs: FigureInputs,
    *,
    method: str = "",
    control: str = "random-grid",
    metrics: tuple[str, ...] = (),
    width: Literal["single", "double"] = "double",
) -> theme.Page:
    method = method or inputs.primary.method
    table = metric_rows.rows_of_single_architectures(inputs.tables["estimates"])
    table = table[(table["by"] == "lesion_size") & table["method"].isin((method, control))]
    table = table.assign(control=table["method"] == control)
    shown = metric_rows.metrics_to_show(table, inputs.metrics, wanted=metrics, plugins=PLUGINS)
    archs = [name for name in inputs.architectures if name in set(table["arch"])]
    if not shown or not archs:
        return theme.sentence_page(NOTHING)
    figure, look = theme.new_page(1.35 + PANEL_INCHES * len(shown), theme.WIDTHS[width]), theme.palette(archs)
    panels = figure.subplots(len(shown), len(archs), sharex=True, sharey="row", squeeze=False)
    cut = False
    for line, metric in zip(panels, shown, strict=True):
        rows = metric_rows.rows_of_metric(table, metric)
        part = theme.axis_range(rows, bounds=inputs.range_of(metric))
        cut = cut or theme.any_interval_beyond(rows, part)
        for axes, arch in zip(line, archs, strict=True):
            _draw_panel(axes, rows[rows["arch"] == arch], marks.Marks(look, upright=True, shown=part))
        name = metric_rows.display_label(metric, inputs.metrics)
        line[0].set_ylabel(theme.metric_axis_label(name, inputs.better.get(metric, ""), upright=True))
    for top, axes, arch in zip(panels[0], panels[-1], archs, strict=True):
        top.set_title(arch, fontweight="bold")
        axes.set_xticks(range(len(LESION_SIZES)), LESION_SIZES, rotation=30 if width == "single" else 0)
    entries = [marks.legend_entry(f"{method} on {arch}", *look[arch]) for arch in archs]
    theme.add_legend(figure, [*entries, marks.legend_entry(f"{control}, a control", theme.GREY, control=True)])
    noun = metric_rows.group_noun(inputs.tables["manifest"])
    basis = theme.describe_basis(table[table["metric"].isin(shown)], inputs.level, noun)
    strata = stratum_labels(inputs.tables["manifest"], inputs.tables["scores"])
    lesions = f"Lesions: {'; '.join(text.replace(chr(10), ', ') for text in strata)}."
    theme.add_note(figure, lesions, basis, theme.ARROW_NOTE if cut else "")
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


def _draw_panel(axes: Axes, rows: pd.DataFrame, how: marks.Marks) -> None:
    """Draw the method and the control of one architecture."""
    offset = rows["control"].map({True: 0.12, False: -0.12}).astype(float)
    rows = rows.assign(
        at=rows["stratum"].map({size: place for place, size in enumerate(LESION_SIZES)}) + offset, name=rows["arch"]
    )
    for control, own in rows[rows["value"].notna()].groupby("control"):
        colour = theme.GREY if control else how.look[next(iter(own["name"]))][0]
        seaborn.lineplot(
            own.sort_values("at"), x="at", y="value", color=colour, linewidth=0.8, alpha=0.6, errorbar=None, estimator=None,
            linestyle=marks.DASHES[bool(control)], legend=False, ax=axes, zorder=2,
        )  # fmt: skip
    marks.draw_estimates(axes, rows, how)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="y")
    axes.set(xlim=(-0.5, len(LESION_SIZES) - 0.5), ylim=how.shown, xlabel="", ylabel="")
