"""SHAP's summary plot: a point per explained row and feature, at its attribution, coloured by the feature's value.

Features are sorted by their mean size over all models shown. Points that would cover each other are moved apart within their line.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

from gradfaith.data.tabular.columns import FEATURE
from gradfaith.reporting.figures import explained_rows, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs

FIGURE = Figure(
    needs=("attributions", "table", "audit"), section="Explained rows", place=5, title="Summary of all rows"
)
LOW_HIGH = LinearSegmentedColormap.from_list("value", ["#0072B2", "#B9B0C8", "#DD3C14"])
LINE_INCHES, BINS = 0.24, 60


def draw(inputs: FigureInputs, *, method: str = "kernel_shap") -> theme.Page:
    runs = {arch: explained_rows.first_runs(inputs, arch, method) for arch in inputs.architectures}
    runs = {arch: table for arch, table in runs.items() if len(table)}
    if not runs:
        return theme.sentence_page(f"Method {method} has no attributions.")
    features = explained_rows.feature_names(next(iter(runs.values())))
    columns = [FEATURE + name for name in features]
    size = np.mean([table[columns].abs().mean().to_numpy() for table in runs.values()], axis=0)
    order = np.argsort(-size, kind="stable")
    figure = theme.new_page(0.9 + LINE_INCHES * len(features))
    panels = figure.subplots(1, len(runs), squeeze=False, sharey=True)[0]
    for axes, (arch, table) in zip(panels, runs.items(), strict=True):
        values = inputs.tables["table"].set_index("image_id").loc[table.index, columns].to_numpy(np.float64)
        _draw_swarm(axes, table[columns].to_numpy(np.float64)[:, order], values[:, order])
        axes.set(title=arch, xlabel="attribution")
    panels[0].set(yticks=range(len(features)), yticklabels=[features[place] for place in order])
    bar = figure.colorbar(ScalarMappable(cmap=LOW_HIGH), ax=panels, ticks=[0, 1], aspect=30, pad=0.01)
    bar.ax.set_yticklabels(["low", "high"])
    bar.set_label("value of the feature")
    rows = len(next(iter(runs.values())))
    theme.add_note(
        figure,
        f"{method}, {rows} explained test rows, seed {min(inputs.seeds)}. Attributions to the {explained_rows.answer_name(inputs)}.",
    )
    return figure


def _draw_swarm(axes: Axes, attribution: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    """Draw a line of points per feature, (n, d)."""
    span = float(np.ptp(attribution)) or 1.0
    for place in range(attribution.shape[1]):
        own = attribution[:, place]
        colours = LOW_HIGH(_places_in_order(values[:, place]))
        axes.scatter(own, place + _offsets(own, span / BINS), s=6, c=colours, linewidth=0, clip_on=False, zorder=3)
    axes.axvline(0, color=theme.GREY, linewidth=0.6, zorder=1)
    axes.set(ylim=(attribution.shape[1] - 0.5, -0.6))
    axes.grid(axis="y")


def _places_in_order(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where each value stands between the lowest (0) and the highest (1) one; equal values stand together."""
    ranks = np.unique(values, return_inverse=True)[1].astype(np.float64)
    mean = np.array([np.mean(np.flatnonzero(np.sort(ranks) == rank)) for rank in ranks])
    return np.asarray((mean - mean.min()) / (np.ptp(mean) or 1.0) if np.ptp(mean) else np.full(len(mean), 0.5))


def _offsets(values: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Return how far each point is moved from its line, so that points of one bin stand beside each other."""
    bins = np.floor(values / width).astype(int)
    turn = np.zeros(len(values))
    for one in np.unique(bins):
        inside = np.flatnonzero(bins == one)
        turn[inside] = (np.arange(len(inside)) + 1) // 2 * np.where(np.arange(len(inside)) % 2, 1, -1)
    return np.asarray(turn * min(0.09, 0.42 / max(np.abs(turn).max(), 1)))
