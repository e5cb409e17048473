"""Convergence of the surrogates: rank agreement of two seeds of m samples each, for growing m.

LIME and KernelSHAP note with each map Spearman's correlation of two fits on disjoint samples
(attribution/support/superpixels.py), so the figure costs no forward pass. One panel per method, one line per
architecture: the median over images, with bars over the middle half of the images. These are quartiles of
images, not intervals of an estimate, and drawn as such. If the line of a method does not come near 1 at its right end, the map
is mostly chance: another seed would rank its superpixels differently.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes

from gradfaith.reporting.figures import marks, overlay, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs, MapStoreKey
from gradfaith.storage.hdf5 import MapStore

FIGURE = Figure(
    needs=("maps", "manifest"),
    section="Methods and controls",
    place=8,
    title="Convergence of surrogates",
)
NOTE_PREFIX = "agreement_"
NO_SURROGATE = "No method of this study fits a surrogate, so there is nothing to converge."


def draw(
    inputs: FigureInputs, *, methods: tuple[str, ...] = (), width: Literal["single", "double"] = "double"
) -> theme.Page:
    table = collect_agreements(inputs.maps)
    shown = [name for name in dict.fromkeys(table["method"]) if not methods or name in methods]
    archs = [name for name in inputs.architectures if name in set(table["arch"])]
    if not shown:
        return theme.sentence_page(NO_SURROGATE)
    figure = theme.new_page(2.7, min(theme.WIDTHS[width], 1.0 + 3.1 * len(shown)))
    panels, look = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0], theme.palette(archs)
    for axes, method in zip(panels, shown, strict=True):
        _draw_panel(axes, table[table["method"] == method], look)
        axes.set_title(method, fontweight="bold")
    panels[0].set_ylim(top=1.0)
    panels[0].set_ylabel(theme.metric_axis_label("Rank correlation of two seeds", "higher", upright=True))
    theme.add_legend(figure, marks.architecture_entries(look))
    counts = table.groupby(["method", "arch", "samples"])["value"].count()
    few, many = int(counts.min()), int(counts.max())
    theme.add_note(
        figure,
        f"Points: medians over {few if few == many else f'{few} to {many}'} maps of the predicted class, of {overlay.describe_stores(inputs)}; "
        "bars: their middle half.",
        "Each seed draws half as many samples as the maps were made of, or fewer.",
    )
    return figure


def collect_agreements(stores: Mapping[MapStoreKey, MapStore]) -> pd.DataFrame:
    """Return the noted agreements of the predicted classes' maps: columns method, arch, seed, samples, value."""
    rows = [pd.DataFrame({"method": [], "arch": [], "seed": [], "samples": [], "value": []})]
    for (arch, seed, _), maps in stores.items():
        predicted = maps.rows["role"].isin(["predicted", "both"]).to_numpy()
        for method in maps.methods:
            for name, values in maps.notes(method).items():
                if name.startswith(NOTE_PREFIX):
                    samples = int(name.removeprefix(NOTE_PREFIX))
                    kept = pd.DataFrame({"value": values[predicted]}).dropna()
                    rows.append(kept.assign(method=method, arch=arch, seed=seed, samples=samples))
    return pd.concat([part for part in rows if len(part)] or rows, ignore_index=True)


def _draw_panel(axes: Axes, agreements: pd.DataFrame, look: theme.Marks) -> None:
    """Draw medians with the middle half of the images, a line per architecture, side by side at each step."""
    sizes = sorted(set(agreements["samples"].astype(int)))
    of_each = agreements.groupby(["arch", "samples"])["value"]
    rows = (
        of_each.quantile(np.array([0.25, 0.5, 0.75]))
        .unstack()
        .rename(columns={0.25: "low", 0.5: "value", 0.75: "high"})
        .reset_index()
    )
    offset = marks.spread_offsets(list(look), min(0.16, 0.6 / len(look)))
    rows["at"] = rows["samples"].astype(int).map({size: float(place) for place, size in enumerate(sizes)})
    rows = rows.assign(at=rows["at"] + rows["arch"].map(offset), name=rows["arch"], control=False)
    seaborn.lineplot(
        rows, x="at", y="value", hue="arch", hue_order=list(look), palette=[colour for colour, _ in look.values()],
        linewidth=0.7, errorbar=None, estimator=None, legend=False, ax=axes,
    )  # fmt: skip
    marks.draw_estimates(axes, rows, marks.Marks(look, upright=True))
    axes.axhline(1, color=theme.GREY, linewidth=0.6, linestyle=":")
    axes.grid(axis="y")
    axes.set(xlim=(-0.5, len(sizes) - 0.5), xlabel="samples of each seed", ylabel="")
    axes.set_xticks(range(len(sizes)), map(str, sizes))
