"""A feature's attribution against its value, coloured by a second feature: SHAP's dependence plot.

A vertical spread at one value is interaction with other features; if the colour sorts it, with the second one.
`features`: pairs "feature by second"; without any, the two features with the largest mean attribution, and the one whose attribution a
second feature moves most. The second feature is the one whose values explain most of the rest: the largest correlation with the
residuals from a running mean.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.data.tabular.columns import FEATURE
from gradfaith.reporting.figures import explained_rows, theme
from gradfaith.reporting.figures.beeswarm import LOW_HIGH
from gradfaith.reporting.figures.contract import Figure, FigureInputs

FIGURE = Figure(
    needs=("attributions", "table", "audit"), section="Explained rows", place=7, title="Attribution against value"
)
WINDOW = 9


def draw(
    inputs: FigureInputs, *, arch: str = "", method: str = "kernel_shap", features: tuple[str, ...] = ()
) -> theme.Page:
    arch = arch or inputs.architectures[-1]
    runs = explained_rows.first_runs(inputs, arch, method)
    if runs.empty:
        return theme.sentence_page(f"Method {method} has no attributions on {arch}.")
    names = explained_rows.feature_names(runs)
    values = inputs.tables["table"].set_index("image_id").loc[runs.index]
    pairs: Sequence[tuple[str, ...]] = [tuple(pair.split(" by ")) for pair in features] or _largest(runs, values, names)
    known = [pair for pair in pairs if len(pair) == 2 and set(pair) <= set(names)]
    if not known:
        return theme.sentence_page(f"No pair of {', '.join(features)} names two features, as in `age by hours`.")
    figure = theme.new_page(2.4)
    for axes, (first, second) in zip(figure.subplots(1, len(known), squeeze=False)[0], known, strict=True):
        x, y, z = (
            source[FEATURE + name].to_numpy(np.float64)
            for source, name in ((values, first), (runs, first), (values, second))
        )
        points = axes.scatter(x, y, c=z, cmap=LOW_HIGH, s=9, linewidth=0)
        axes.axhline(0, color=theme.GREY, linewidth=0.6)
        axes.set(xlabel=first, ylabel=f"attribution of {first}")
        found = next(column for column in inputs.audit["columns"] if column["name"] == first)
        if found["categories"]:
            axes.set_xticks(range(len(found["categories"])), found["categories"])
        bar = figure.colorbar(points, ax=axes, aspect=25, pad=0.01)
        bar.set_label(second)
        shown = next(column for column in inputs.audit["columns"] if column["name"] == second)
        if shown["categories"]:
            bar.set_ticks(range(len(shown["categories"])), labels=shown["categories"])
    theme.add_note(figure, f"{method} on {arch}, seed {min(inputs.seeds)}, {len(runs)} explained rows.")
    return figure


def _largest(runs: pd.DataFrame, values: pd.DataFrame, names: list[str]) -> list[tuple[str, str]]:
    """Return the features to show, each with its second one."""
    size = {name: float(runs[FEATURE + name].abs().mean()) for name in names}
    first = sorted(names, key=lambda name: -size[name])[:2]
    moved = {name: _companion(runs, values, names, name) for name in names}
    rest = sorted((name for name in names if name not in first), key=lambda name: -moved[name][1])[:1]
    return [(name, moved[name][0]) for name in (*first, *rest)]


def _companion(runs: pd.DataFrame, values: pd.DataFrame, names: list[str], first: str) -> tuple[str, float]:
    """Return the feature that explains most of the spread of another one's attribution, and how far it moves it."""
    order = np.argsort(values[FEATURE + first].to_numpy(), kind="stable")
    own = pd.Series(runs[FEATURE + first].to_numpy()[order])
    rest = (own - own.rolling(WINDOW, center=True, min_periods=1).mean()).to_numpy(np.float64)
    # A product with the first feature changes its sign along the axis, so both the rest and its product with the value count.
    centred = values[FEATURE + first].to_numpy(np.float64)[order] - float(values[FEATURE + first].mean())
    strengths = {}
    for name in names:
        other = values[FEATURE + name].to_numpy(np.float64)[order]
        strengths[name] = max(abs(_correlation(rest, other)), abs(_correlation(rest * np.sign(centred), other)))
    found = max((name for name in names if name != first), key=lambda name: strengths[name], default=first)
    return found, strengths[found] * float(rest.std())


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.corrcoef(one, other)[0, 1]) if np.ptp(one) and np.ptp(other) else 0.0
