"""The K highest pixels of each method's map beside the evidence of K pixels, and who wins: Figure 6 of [pham2025].

    green    among the K highest, on the evidence       red    among the K highest, elsewhere
    paler    tied for the last places: of T pixels with the K-th value, s count, so each is shown at strength s / T

One row per image: the image with the outline of its evidence, then each method. Under each panel stands the score of the
study's primary metric, and under the image the prediction, K, the winner and the ranking. Images are chosen by the rule of all
figures (reporting/image_examples.py), among those that the model classifies correctly.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import overlay, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.reporting.image_examples import choose_images
from gradfaith.stats.winrates import TIE_TOLERANCE
from gradfaith.storage.hdf5 import MapStore

FIGURE = Figure(
    needs=("predictions", "scores", "images", "maps", "manifest"),
    limits=("images >= 1", "0 <= seed_rank < seeds"),
    section="Example images",
    place=4,
    title="The K highest pixels of each map",
)
HIT, MISS = np.array([0.0, 0.72, 0.32]), np.array([0.88, 0.22, 0.12])
NOTHING = "No image with evidence is classified correctly, or none has maps."

NARROWEST = 4.5  # inches: the note needs few lines


def top_pixels(unit: NDArray[np.float32], count: int) -> NDArray[np.float64]:  # (h, w)
    """Return how strongly each pixel belongs to the `count` highest: 1, 0, or the share of the tied places."""
    if count == 0:
        return np.zeros(unit.shape)
    last = np.partition(unit.ravel(), -count)[-count]
    above, tied = unit > last, unit == last
    return np.asarray(above + tied * ((count - above.sum()) / tied.sum()))


def draw(inputs: FigureInputs, *, images: int = 4, seed_rank: int = 0, arch: str = "") -> theme.Page:
    assert inputs.images is not None
    arch, seed = arch or inputs.architectures[0], sorted(inputs.seeds)[seed_rank]
    stores = {
        method: store
        for (name, number, _), store in inputs.maps.items()
        if (name, number) == (arch, seed)
        for method in store.methods
        if not metric_rows.is_control(method, inputs.controls)
    }
    order = metric_rows.methods_in_display_order(inputs.tables["scores"], inputs.controls)  # the study's
    stores = {name: stores[name] for name in order if name in stores} or stores
    shown, table = _chosen(inputs, stores, arch, seed, images)
    if not shown:
        return theme.sentence_page(NOTHING)
    side = min(1.5, (theme.PAGE_WIDTH - 0.2) / (1 + len(stores)) - 0.09)
    width = max(NARROWEST, (1 + len(stores)) * (side + 0.09) + 0.2)
    figure = theme.new_page(0.75 + len(shown) * (side + 0.55), width)
    panels = figure.subplots(len(shown), 1 + len(stores), squeeze=False)
    scores = _scores(inputs, arch, seed)
    for line, image in zip(panels, shown, strict=True):
        _draw_row(line, inputs, image, stores, scores.loc[[image]].iloc[0], table.loc[[image]].iloc[0])
    for axes, name in zip(panels[0], ["image", *stores], strict=True):
        axes.set_title(name, loc="center", fontsize=overlay.font_size_to_fit(["image", *stores], side, 8))
    metric = metric_rows.display_label(inputs.primary.metric, inputs.metrics)
    theme.add_note(
        figure,
        f"{arch}, seed {seed}. Under each map: its {metric}. K: pixels of the evidence. Green: highest pixels on the evidence; "
        "red: highest pixels elsewhere; paler: tied for the last places.",
        f"Correctly classified images; {overlay.describe_shown_images(shown, inputs, 'median')}",
    )
    return figure


def _chosen(
    inputs: FigureInputs, stores: Mapping[str, MapStore], arch: str, seed: int, count: int
) -> tuple[list[str], pd.DataFrame]:
    """Return the images to show, and the model's predictions by image."""
    table = inputs.tables["predictions"]
    table = table[(table["arch"] == arch) & (table["seed"] == seed) & table["correct"] & (table["part"] == "test")]
    manifest = inputs.tables["manifest"]
    with_evidence = set(manifest.loc[manifest["lesion_px"] > 0, "image_id"])
    for store in stores.values():
        with_evidence &= set(store.rows["image_id"])
    table = table[table["image_id"].isin(with_evidence)] if stores else table[:0]
    classes = [name for name in inputs.classes if name in set(table["label"])]
    if not classes:
        return [], table
    shown = choose_images(table, inputs.tables["scores"], inputs.primary, classes, count=max(count, len(classes)))
    return shown[:count], table.set_index("image_id")


def _scores(inputs: FigureInputs, arch: str, seed: int) -> pd.DataFrame:
    """Return the scores of the primary metric: a row per image, a column per method."""
    table = metric_rows.rows_of_single_architectures(inputs.tables["scores"])
    rows = metric_rows.rows_of_metric(table, inputs.primary.metric)
    rows = rows[(rows["arch"] == arch) & (rows["seed"] == seed) & (rows["copy"] == 0)]
    rows = rows.astype({"image_id": "str", "method": "str"})
    return rows.pivot_table(index="image_id", columns="method", values="value", dropna=False, observed=True)


def _draw_row(
    line: Sequence[Axes],
    inputs: FigureInputs,
    image: str,
    stores: Mapping[str, MapStore],
    scores: pd.Series,
    row: pd.Series,
) -> None:
    """Draw one image, and beside it the K highest pixels of every method."""
    assert inputs.images is not None
    pixels, evidence = overlay.load_image_and_evidence(inputs.images, image)
    overlay.draw_image(line[0], pixels, evidence)
    own = scores.reindex(list(stores))
    probability = row[f"calibrated_{row['predicted']}"]
    answer = f"{row['predicted']} {probability:.2f}, true: {row['label']}"
    line[0].set_xlabel(f"{answer}\nK = {int(evidence.sum())}\n{ranking_text(own)}", fontsize=6.5, labelpad=2)
    grey = pixels.mean(axis=2) / 255 if pixels.ndim == 3 else pixels / 255
    for axes, (method, store) in zip(line[1:], stores.items(), strict=True):
        unit, status = overlay.load_display_map(store, method, image, evidence.shape)
        strength = (
            top_pixels(unit, int(evidence.sum()))[..., None] if status == "ok" else np.zeros((*evidence.shape, 1))
        )
        colour = np.where(evidence[..., None], HIT, MISS)
        faded = 0.35 + 0.65 * (1 - strength) * grey[..., None] + strength * (colour - 0.35)
        overlay.draw_image(axes, (255 * faded).round().astype(np.uint8), evidence)
        value = own[method]
        axes.set_xlabel("undefined" if pd.isna(value) else f"{value:.3f}", fontsize=7.5, labelpad=2)


def ranking_text(scores: pd.Series) -> str:
    """Return the methods from the best to the worst, with "=" between tied ones."""
    known = scores.dropna().sort_values(ascending=False, kind="stable")
    if known.empty:
        return "no ranking"
    parts = [str(known.index[0])]
    for before, (name, value) in zip(known.to_numpy()[:-1], list(known.items())[1:], strict=True):
        parts.append(f"{'=' if before - value <= TIE_TOLERANCE else '>'} {name}")
    return "\n".join(parts)
