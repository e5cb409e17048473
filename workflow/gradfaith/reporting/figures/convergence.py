"""Convergence of the surrogates: how far two seeds of m samples agree in rank, for growing m.

LIME and KernelSHAP note with each map Spearman's correlation of two fits on disjoint samples (attribution/support/surrogate.py), so the
figure costs no forward. One panel per method, one line per architecture: the median over images, bars over the middle half of
them. These are quartiles of images, not intervals of an estimate. A method whose line has not come near 1 at its right end
is mostly chance: another seed would rank its superpixels otherwise.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from gradfaith.reporting.figures import theme
from gradfaith.reporting.figures.contract import Figure, Given
from gradfaith.storage.hdf5 import Maps

FIGURE = Figure(needs=("maps",))
NOTE = "agreement_"
NONE = "No method of this study fits a surrogate, so there is nothing to converge."


def draw(given: Given, *, methods: tuple[str, ...] = ()) -> theme.Page:
    table = agreements(given.maps)
    shown = [name for name in dict.fromkeys(table["method"]) if not methods or name in methods]
    archs = [name for name in given.architectures if name in set(table["arch"])]
    figure, look = (
        theme.page(2.7 if shown else 0.6, min(theme.WIDTH, 1.0 + 3.1 * max(len(shown), 1))),
        theme.palette(archs),
    )
    if not shown:
        theme.note(figure, NONE)
        return figure
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, method in zip(panels, shown, strict=True):
        _panel(axes, table[table["method"] == method], look)
        axes.set_title(method, fontweight="bold")
    panels[0].set_ylabel("rank correlation of two seeds")
    theme.legend(figure, [theme.swatch(arch, *look[arch]) for arch in archs])
    counts = table.groupby(["method", "arch", "samples"])["value"].count()
    few, many = int(counts.min()), int(counts.max())
    theme.note(
        figure,
        f"Points: medians over {few if few == many else f'{few} to {many}'} maps of the predicted class; bars: their middle half.",
        "Each seed draws half as many samples as the maps were made of, or fewer.",
    )
    return figure


def agreements(stores: Mapping[tuple[str, int, str], Maps]) -> pd.DataFrame:
    """One row per map and number of samples: method, arch, seed, samples, value."""
    rows = [pd.DataFrame({"method": [], "arch": [], "seed": [], "samples": [], "value": []})]
    for (arch, seed, _), maps in stores.items():
        predicted = maps.rows["role"].isin(["predicted", "both"]).to_numpy()
        for method in maps.methods:
            for name, values in maps.notes(method).items():
                if name.startswith(NOTE):
                    samples = int(name.removeprefix(NOTE))
                    kept = pd.DataFrame({"value": values[predicted]}).dropna()
                    rows.append(kept.assign(method=method, arch=arch, seed=seed, samples=samples))
    return pd.concat([part for part in rows if len(part)] or rows, ignore_index=True)


def _panel(axes: Axes, own: pd.DataFrame, look: Mapping[str, tuple[str, str]]) -> None:
    sizes = sorted(set(own["samples"].astype(int)))
    step = min(0.16, 0.6 / len(look))
    for number, arch in enumerate(look):
        shift = (number - (len(look) - 1) / 2) * step
        points = [(place + shift, _quartiles(own, arch, size)) for place, size in enumerate(sizes)]
        there = [(place, row) for place, row in points if row is not None]
        axes.plot(
            [at for at, _ in there], [row["value"] for _, row in there], color=look[arch][0], linewidth=0.7, alpha=0.6
        )
        for at, row in there:
            theme.dot(axes, row, at, *look[arch], upright=True)
    axes.axhline(1, color=theme.GREY, linewidth=0.6, linestyle=":")
    axes.grid(axis="y")
    axes.set(xticks=range(len(sizes)), xticklabels=sizes, xlim=(-0.5, len(sizes) - 0.5), xlabel="samples of each seed")


def _quartiles(own: pd.DataFrame, arch: str, size: int) -> Mapping[Any, Any] | None:
    values: NDArray[np.float64] = own.loc[(own["arch"] == arch) & (own["samples"] == size), "value"].to_numpy(
        dtype=float
    )
    if not len(values):
        return None
    low, value, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"value": value, "low": low, "high": high}
