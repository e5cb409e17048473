"""One explained row at a time: the prediction, the features with their values, and their contributions, as LIME's own panel shows them.

Left: the model's own probability of either class (or the predicted value among all predictions); it is not a count of perturbed
samples. Middle: the features in order of size, coloured by the class that each supports. Right: the contributions.
"""

import numpy as np
from matplotlib.axes import Axes

from gradfaith.reporting.figures import explained_rows, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.reporting.figures.explained_rows import ExplainedRow
from gradfaith.vocabulary import BINARY

FIGURE = Figure(
    needs=("attributions", "table", "audit", "predictions"), section="Explained rows", place=1, title="Prediction, features, contributions"
)  # fmt: skip

ROOM = 0.7  # a longer bar has its number inside


def draw(inputs: FigureInputs, *, arch: str = "", method: str = "lime") -> theme.Page:
    arch = arch or inputs.architectures[-1]
    shown = [explained_rows.explained_row(inputs, arch, method, place) for place in ("highest", "lowest")]
    rows = [row for row in shown if row is not None]
    if not rows:
        return theme.sentence_page(f"Method {method} has no attributions on {arch}.")
    figure = theme.new_page(len(rows) * (0.55 + 0.16 * len(rows[0].features)) + 0.5)
    panels = figure.subplots(len(rows), 3, squeeze=False, width_ratios=[1, 1.3, 1.6])
    for axes, row in zip(panels, rows, strict=True):
        order = np.argsort(-np.abs(row.attribution), kind="stable")
        _draw_prediction(axes[0], inputs, row)
        _write_values(axes[1], row, order)
        draw_bars(axes[2], row, order)
        axes[2].set_xlabel(f"contribution by {method}")
    who = inputs.audit["positive"] or "a high value"
    theme.add_note(
        figure,
        f"Model {arch}, seed {min(inputs.seeds)}; the explained rows with the highest and the lowest answer.",
        f"Green supports {who}, red speaks against it.",
    )
    return figure


def _draw_prediction(axes: Axes, inputs: FigureInputs, row: ExplainedRow) -> None:
    """Draw the probability of both classes, or a regression's value among all predictions."""
    said = inputs.tables["predictions"]
    said = said[(said["arch"] == row.arch) & (said["seed"] == min(inputs.seeds))].set_index("image_id")
    positive = inputs.audit["positive"]
    if positive:
        shares = said.loc[row.image_id, [f"probability_{name}" for name in BINARY]].to_numpy(np.float64)
        axes.barh([1, 0], shares, color=[theme.LOWERS, theme.RAISES], height=0.5)
        axes.set(
            yticks=[1, 0], yticklabels=[f"not {positive}", positive], xlim=(0, 1), ylim=(-1, 2), xlabel="probability"
        )
        for at, share in zip((1, 0), shares, strict=True):
            inside = share > ROOM
            side, colour = ("right", "white") if inside else ("left", theme.INK)
            place = share - 0.03 if inside else share + 0.03
            axes.text(place, at, share_text(float(share)), va="center", ha=side, color=colour)
    else:
        axes.hist(said["raw"], bins=20, color=theme.PALE)
        axes.axvline(row.answer, color=theme.ACCENT)
        axes.set(yticks=[], xlabel="predicted value")
    axes.set_title(row.image_id)


def share_text(share: float) -> str:
    """Return a probability in percent; one that is not certain is neither 0 % nor 100 %."""
    percent = f"{100 * share:.0f}"
    return {"0": "< 1 %" if share > 0 else "0 %", "100": "> 99 %" if share < 1 else "100 %"}.get(
        percent, f"{percent} %"
    )


def _write_values(axes: Axes, row: ExplainedRow, order: np.ndarray) -> None:
    """Write the features and their values, coloured by the direction of their contribution."""
    axes.set(xlim=(0, 1), ylim=(len(order) - 0.4, -0.6), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    for place, feature in enumerate(order):
        raises = row.attribution[feature] > 0
        axes.axhspan(
            place - 0.45, place + 0.45, color=theme.RAISES if raises else theme.LOWERS, alpha=0.22, linewidth=0
        )
        axes.text(0.03, place, row.features[feature], va="center")
        axes.text(0.97, place, row.values[feature], va="center", ha="right")


def draw_bars(axes: Axes, row: ExplainedRow, order: np.ndarray) -> None:
    """Draw a bar per feature, in this order from the top."""
    values = row.attribution[order]
    axes.barh(
        range(len(order)), values, color=[theme.RAISES if value > 0 else theme.LOWERS for value in values], height=0.7
    )
    axes.axvline(0, color=theme.GREY, linewidth=0.6)
    axes.set(ylim=(len(order) - 0.4, -0.6), yticks=[])
