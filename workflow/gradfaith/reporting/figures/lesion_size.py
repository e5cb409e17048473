"""Localization by lesion size: terciles of the lesions among the explained images (stats/estimates.py).

Colours are architectures, each beside its own control, grey and hollow. Every localization metric depends on size by
itself: the chance level of the saliency score is |M| / N. So a rising line says nothing unless it leaves its control's
behind. A control is drawn per architecture, because only the maps' grid and the images explained may differ.
"""

import pandas as pd
from matplotlib.axes import Axes

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import theme
from gradfaith.reporting.figures.contract import Figure, Given
from gradfaith.stats.estimates import SIZES, lesion_size

FIGURE = Figure(needs=("estimates", "manifest", "scores"))


def draw(
    given: Given,
    *,
    method: str = "",
    control: str = "random-grid",
    metrics: tuple[str, ...] = ("locacc", "saliency_score", "iou_area_matched"),
) -> theme.Page:
    method = method or given.primary["method"]
    table = metric_rows.within(given.tables["estimates"])
    table = table[table["stratum"].isin(SIZES) & table["method"].isin((method, control))]
    shown, archs = metric_rows.present(table, metrics), list(given.architectures)
    figure, look = theme.page(2.9), theme.palette(archs)
    panels = figure.subplots(1, max(len(shown), 1), squeeze=False)[0]
    ticks = labels(given.tables["manifest"], given.tables["scores"])
    cut, step = False, min(0.22, 0.8 / len(archs))
    for axes, metric in zip(panels, shown, strict=False):
        own = metric_rows.of_metric(table, metric)
        low, high = theme.window(own)
        part = min(0.0, low), high
        cut = cut or theme.beyond(own, part)
        for place, arch in enumerate(archs):
            shift = (place - (len(archs) - 1) / 2) * step
            here = own[own["arch"] == arch]
            _line(
                axes, here[here["method"] == control], shift + step / 3, theme.GREY, look[arch][1], part, control=True
            )
            _line(axes, here[here["method"] == method], shift, *look[arch], part)
        axes.set(title=metric_rows.words(metric), xticks=range(len(SIZES)), xlim=(-0.5, len(SIZES) - 0.5))
        axes.set_xticklabels(ticks)
        axes.set_ylim(part)
        axes.grid(axis="y")
    entries = [theme.swatch(arch, *look[arch]) for arch in archs]
    theme.legend(figure, [*entries, theme.swatch(control, theme.GREY, control=True)])
    basis = theme.basis(table[table["metric"].isin(shown)], given.level, theme.kind(given.tables["manifest"]))
    what = f"In colour: {method}; grey: {control}, with the marker of the architecture it stands beside."
    theme.note(figure, what, basis, theme.ARROWS if cut else "")
    return figure


def labels(manifest: pd.DataFrame, scores: pd.DataFrame) -> list[str]:
    """The strata with their bounds in pixels and the number of images in each."""
    stratum = lesion_size(manifest, scores["image_id"])
    pixels = manifest.set_index("image_id")["lesion_px"].reindex(stratum.index)
    texts = []
    for size in SIZES:
        own = pixels[stratum == size]
        texts.append(f"{size}\n{own.min()}\u2013{own.max()} px\n{len(own)} images" if len(own) else f"{size}\nnone")
    return texts


def _line(
    axes: Axes, own: pd.DataFrame, shift: float, colour: str, marker: str, part: theme.Window, *, control: bool = False
) -> None:
    here = metric_rows.by(own[own["value"].notna()], "stratum")
    there = {place + shift: here[size] for place, size in enumerate(SIZES) if size in here}
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
        theme.dot(axes, row, place, colour, marker, control=control, upright=True, shown=part)
