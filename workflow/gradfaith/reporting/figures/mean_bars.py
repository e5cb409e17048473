"""The mean size of each feature's attribution, by model, with intervals over groups and seeds: SHAP's bar plot with its uncertainty.

`share` divides the sizes of a row by their total, so that models and methods with other scales can be compared; without it the sizes
are those of the method, as in SHAP's own plot. Where the truth is planted, a tick shows the planted importance in the same way, scaled
to the same total. A feature that the planted function does not use has its tick at zero.
"""

import numpy as np
import pandas as pd

from gradfaith.data.tabular.columns import FEATURE, TRUTH
from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import explained_rows, marks, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.reporting.row_words import in_rows
from gradfaith.stats.interval_scales import Bounds, IntervalRule
from gradfaith.stats.intervals import intervals_by_cell

FIGURE = Figure(
    needs=("attributions", "table", "manifest"), section="Explained rows", place=6, title="Mean size of attributions"
)
LINE_INCHES = 0.27


def draw(inputs: FigureInputs, *, methods: tuple[str, ...] = ("kernel_shap", "lime"), share: bool = True) -> theme.Page:
    table = inputs.tables["attributions"]
    shown = [name for name in methods if name in set(table["method"])]
    if not shown:
        return theme.sentence_page(f"None of {', '.join(methods)} is a method of this study.")
    features, look = explained_rows.feature_names(table), theme.palette(inputs.architectures)
    means = mean_sizes(inputs, shown, share=share)
    size = means[means["method"] == shown[0]].groupby("feature")["value"].mean()
    order = {name: place for place, name in enumerate(sorted(features, key=lambda name: -size[name]))}
    figure = theme.new_page(1.0 + LINE_INCHES * len(features))
    panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    offset = marks.spread_offsets(list(look), 0.8 / max(len(look), 2))
    planted = _planted(inputs, features)
    for axes, method in zip(panels, shown, strict=True):
        own = means[means["method"] == method]
        at = own["feature"].map(order) + own["arch"].map(offset)
        marks.draw_estimates(axes, own.assign(at=at, name=own["arch"], control=False), marks.Marks(look, size=3.6))
        total = own.groupby("arch")["value"].sum().mean()
        if len(planted):
            places = [order[name] for name in planted.index]
            axes.vlines(
                planted * total,
                np.array(places) - 0.4,
                np.array(places) + 0.4,
                color=theme.INK,
                linewidth=1.1,
                zorder=5,
            )
        for place in range(1, len(features), 2):
            axes.axhspan(place - 0.5, place + 0.5, color=theme.PALE, alpha=0.35, linewidth=0, zorder=0)
        axes.set(
            title=method,
            xlabel="mean share of a row's attribution" if share else "mean size of the attribution",
            ylim=(len(features) - 0.5, -0.5),
        )
        axes.grid(axis="x")
    panels[0].set(yticks=range(len(order)), yticklabels=list(order))
    theme.add_legend(figure, marks.architecture_entries(look))
    basis = in_rows(theme.describe_basis(means, inputs.level, metric_rows.group_noun(inputs.tables["manifest"])))
    tick = "Black tick: the planted importance, scaled to the same total." if len(planted) else ""
    theme.add_note(figure, basis, tick)
    return figure


def mean_sizes(inputs: FigureInputs, methods: list[str], *, share: bool) -> pd.DataFrame:
    """Return the mean size, or mean share, by arch, method and feature, with intervals over groups and seeds."""
    table = inputs.tables["attributions"]
    own = table[table["method"].isin(methods) & (table["repeat"] == 0) & (table["copy"] == 0)]
    columns = [name for name in own if str(name).startswith(FEATURE)]
    sizes = own[columns].abs()
    if share:
        sizes = sizes.div(sizes.sum(axis=1).where(lambda total: total > 0), axis=0)
    own = own.assign(**{str(name): sizes[name] for name in columns})
    long = own.melt(["arch", "seed", "method", "image_id"], columns, var_name="feature", value_name="value")
    group = inputs.tables["manifest"].set_index("image_id")["group"]
    long = long.assign(
        feature=long["feature"].str.removeprefix(FEATURE), group=long["image_id"].map(group), arch2="", seed2=""
    )  # fmt: skip
    rule = IntervalRule(inputs.level, inputs.min_groups)
    long = long[long["value"].notna()]
    return intervals_by_cell(long, ("arch", "method", "feature"), rule, Bounds(0, 1 if share else np.inf))


def _planted(inputs: FigureInputs, features: list[str]) -> pd.Series:
    """Return each feature's share of the planted importance over the explained rows; empty where no truth is planted."""
    table = inputs.tables["table"].set_index("image_id")
    columns = [TRUTH + name for name in features if TRUTH + name in table]
    if not columns:
        return pd.Series(dtype=float)
    sizes = table.loc[list(dict.fromkeys(inputs.tables["attributions"]["image_id"])), columns].abs()
    shares: pd.Series = sizes.div(sizes.sum(axis=1), axis=0).mean()
    return shares.rename(index=lambda name: str(name).removeprefix(TRUTH)) / shares.sum()
