"""Convergence of the surrogates: rank agreement of two seeds of m samples each, for growing m.

LIME and KernelSHAP note with each map Spearman's correlation of two fits on disjoint samples
(attribution/support/surrogate.py), so the figure costs no forward pass. One panel per method, one line per
architecture: the median over images, with bars over the middle half of the images. These are quartiles of
images, not intervals of an estimate. If the line of a method does not come near 1 at its right end, the map
is mostly chance: another seed would rank its superpixels differently.
"""

from collections.abc import Mapping

import pandas as pd
import seaborn
from matplotlib.axes import Axes

from gradfaith.reporting.figures import theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs, MapStoreKey
from gradfaith.storage.hdf5 import MapStore

FIGURE = Figure(
    needs=("maps",),
    section="Methods and controls",
    place=8,
    title="Convergence of surrogates",
)
NOTE_PREFIX = "agreement_"
NO_SURROGATE = "No method of this study fits a surrogate, so there is nothing to converge."


def draw(inputs: FigureInputs, *, methods: tuple[str, ...] = ()) -> theme.Page:
    table = collect_agreements(inputs.maps)
    shown = [name for name in dict.fromkeys(table["method"]) if not methods or name in methods]
    archs = [name for name in inputs.architectures if name in set(table["arch"])]
    figure, look = (
        theme.new_page(2.7 if shown else 0.6, min(theme.PAGE_WIDTH, 1.0 + 3.1 * max(len(shown), 1))),
        theme.palette(archs),
    )
    if not shown:
        theme.add_note(figure, NO_SURROGATE)
        return figure
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, method in zip(panels, shown, strict=True):
        _draw_panel(axes, table[table["method"] == method], look)
        axes.set_title(method, fontweight="bold")
    panels[0].set_ylabel("rank correlation of two seeds")
    theme.add_legend(figure, [theme.legend_entry(arch, *look[arch]) for arch in archs])
    counts = table.groupby(["method", "arch", "samples"])["value"].count()
    few, many = int(counts.min()), int(counts.max())
    theme.add_note(
        figure,
        f"Points: medians over {few if few == many else f'{few} to {many}'} maps of the predicted class; bars: their middle half.",
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


def _draw_panel(axes: Axes, agreements: pd.DataFrame, look: Mapping[str, tuple[str, str]]) -> None:
    """Draw medians with the middle half of the images, a line per architecture, side by side at each step."""
    sizes = sorted(set(agreements["samples"].astype(int)))
    seaborn.pointplot(
        agreements.astype({"samples": int}), x="samples", y="value", order=sizes, hue="arch", hue_order=list(look),
        palette=[colour for colour, _ in look.values()], markers=[marker for _, marker in look.values()],
        estimator="median", errorbar=("pi", 50), dodge=min(0.16, 0.6 / len(look)) * (len(look) - 1), linewidth=0.7, markersize=4,
        markeredgewidth=1, err_kws={"linewidth": 1.3}, legend=False, ax=axes,
    )  # fmt: skip
    axes.axhline(1, color=theme.GREY, linewidth=0.6, linestyle=":")
    axes.grid(axis="y")
    axes.set(xlim=(-0.5, len(sizes) - 0.5), xlabel="samples of each seed", ylabel="")
