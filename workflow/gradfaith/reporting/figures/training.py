"""Loss and accuracy of every training, epoch by epoch, with the epoch whose weights the study uses.

Read from the history.csv of each model. One row of panels per architecture, one colour per seed. Left: the loss on the
training images (dashed) and on the validation images (solid). Right: the balanced accuracy on the validation images. The
training loss includes what the recipe adds (augmentation, label smoothing, class weights), so it can be above the
validation loss.
"""

from collections.abc import Sequence
from typing import Literal

import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs

FIGURE = Figure(
    needs=("histories", "cards", "manifest", "splits"),
    section="Data and training",
    place=2,
    title="Loss and accuracy during training",
)
LOSSES = {"train_loss": ("training", theme.DASHED), "val_loss": ("validation", "-")}
NO_TRAINING = "The study takes the weights of its models as they are and trains none."
PART_WORDS = {"train": "training", "val": "validation"}
ACCURACY = "val_balanced_accuracy"
ROW_INCHES = 1.45  # of an architecture
CHOSEN = "Circle: the epoch whose weights the study uses, chosen on the validation images. Dotted: chance."


def draw(inputs: FigureInputs, *, width: Literal["single", "double"] = "double") -> theme.Page:
    table, chance = inputs.tables["histories"], 1 / len(inputs.classes)
    archs = [name for name in inputs.architectures if name in set(table["arch"])]
    if not archs:
        return theme.sentence_page(NO_TRAINING)
    seeds = [seed for seed in inputs.seeds if seed in set(table["seed"])]
    colours = dict(zip(seeds, (colour for colour, _ in theme.palette(list(map(str, seeds))).values()), strict=True))
    figure = theme.new_page(1.0 + ROW_INCHES * len(archs), theme.WIDTHS[width])
    panels = figure.subplots(len(archs), 2, sharex="row", squeeze=False)
    for (loss, accuracy), arch in zip(panels, archs, strict=True):
        own = table[table["arch"] == arch]
        for column, (_, style) in LOSSES.items():
            _draw_lines(loss, own, column, colours, style)
        _draw_lines(accuracy, own, ACCURACY, colours, "-")
        accuracy.axhline(chance, color=theme.GREY, linestyle=":", linewidth=1)
        accuracy.set(ylabel=theme.metric_axis_label("Balanced accuracy", "higher", upright=True), ylim=(0, 1))
        loss.set(ylabel=theme.metric_axis_label("Loss", "lower", upright=True))
        loss.set_title(arch, fontweight="bold")
    for axes in panels[-1]:
        axes.set_xlabel("Epoch")
    theme.add_legend(figure, _legend_entries(colours))
    models = table[["arch", "seed"]].drop_duplicates()
    counted = f"{len(models)} trainings: {len(archs)} architectures, {len(seeds)} seeds, at most {table['epoch'].max()} epochs."
    theme.add_note(figure, f"{counted} {_describe_parts(inputs)}".rstrip(), CHOSEN)
    return figure


def _describe_parts(inputs: FigureInputs) -> str:
    """Return how many images and groups the models were trained and selected on."""
    images = inputs.tables["manifest"].merge(inputs.tables["splits"], on="image_id")
    noun = metric_rows.group_noun(inputs.tables["manifest"])
    counts = {name: own for name, own in images.groupby("part") if name in PART_WORDS}
    texts = [
        f"{PART_WORDS[str(name)]} {len(own)} images of {own['group'].nunique()} {noun}s"
        for name, own in sorted(counts.items(), key=lambda item: list(PART_WORDS).index(str(item[0])))
    ]
    return f"Images: {', '.join(texts)}." if texts else ""


def _draw_lines(axes: Axes, own: pd.DataFrame, column: str, colours: dict[int, str], style: str) -> None:
    """Draw one line per seed; on validation also a circle at the selected epoch."""
    for seed, colour in colours.items():
        here = own[own["seed"] == seed]
        how = {"color": colour, "linestyle": style, "marker": "." if len(here) == 1 else "", "markeredgewidth": 0}
        seaborn.lineplot(here, x="epoch", y=column, linewidth=1.2, errorbar=None, ax=axes, **how)
        chosen = here[here["selected"]]
        if column != "train_loss":
            axes.plot(
                chosen["epoch"], chosen[column], "o", color=colour, markerfacecolor="white", markersize=5, clip_on=False
            )
    axes.set(xlabel="")
    axes.grid(visible=True, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _legend_entries(colours: dict[int, str]) -> Sequence[Line2D]:
    seeds = [Line2D([], [], color=colour, label=f"seed {seed}") for seed, colour in colours.items()]
    parts = [
        Line2D([], [], color=theme.INK, linestyle=style, label=f"{part} images") for part, style in LOSSES.values()
    ]
    return [*seeds, *parts]
