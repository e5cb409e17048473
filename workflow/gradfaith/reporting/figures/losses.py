"""Losses and accuracy during training as mean and standard deviation over seeds: Figure 5 of [pham2025].

One row of panels per architecture. Left: the total loss, then the cross-entropy and the loss of the decoder on their own
scales, then the balanced accuracy on the validation images. Lines: mean over seeds; bands: one standard deviation to either
side (divided by the number of seeds, as in the paper). The paper's curves are of training and test images; here the test
images are not seen before the end, and the second curve is of the validation images.
"""

import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from gradfaith.reporting.figures import theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.reporting.figures.training import NO_TRAINING
from gradfaith.stats.over_seeds import mean_and_sd

FIGURE = Figure(
    needs=("histories", "cards"),
    section="Data and training",
    place=3,
    title="Losses of classifier and decoder during training",
)
ACCURACY = "Balanced accuracy"
PANELS = {
    "Total loss": ("train_loss", "val_loss"),
    "Cross-entropy": ("train_class_loss", "val_class_loss"),
    "Decoder's loss": ("train_decoder_loss", "val_decoder_loss"),
    ACCURACY: ("", "val_balanced_accuracy"),
}
COLOURS = {"training images": theme.COLOURS[0], "validation images": theme.COLOURS[1]}
ROW_INCHES = 1.45


def draw(inputs: FigureInputs) -> theme.Page:
    table = inputs.tables["histories"]
    archs = [name for name in inputs.architectures if name in set(table["arch"])]
    if not archs:
        return theme.sentence_page(NO_TRAINING)
    figure = theme.new_page(0.9 + ROW_INCHES * len(archs))
    panels = figure.subplots(len(archs), len(PANELS), squeeze=False, sharex=True)
    for line, arch in zip(panels, archs, strict=True):
        for axes, (name, columns) in zip(line, PANELS.items(), strict=True):
            _draw_panel(axes, _without_decoder(table[table["arch"] == arch]), name, columns)
        line[0].set_title(arch, fontweight="bold")
    for axes in filter(lambda axes: axes.axison, panels[-1]):
        axes.set_xlabel("Epoch")
    theme.add_legend(figure, [Line2D([], [], color=colour, label=name) for name, colour in COLOURS.items()])
    seeds = table["seed"].nunique()
    note = f"Mean of {seeds} seeds; bands: one standard deviation over seeds. Training losses include augmentation and class weights."
    theme.add_note(figure, note)
    return figure


def _draw_panel(axes: Axes, own: pd.DataFrame, name: str, columns: tuple[str, str]) -> None:
    for column, colour in zip(columns, COLOURS.values(), strict=True):
        values = own[["epoch", column]].dropna() if column in own else own[:0]
        if values.empty:
            continue
        look = {"color": colour, "marker": "." if values["epoch"].nunique() == 1 else "", "markeredgewidth": 0}
        seaborn.lineplot(values, x="epoch", y=column, errorbar=_one_sd, err_kws={"linewidth": 0}, ax=axes, **look)
    if not axes.lines:
        axes.set_axis_off()
        axes.text(
            0.5, 0.5, f"{name}:\nnot trained", transform=axes.transAxes, ha="center", va="center", color=theme.GREY
        )
        return
    better = "higher" if name == ACCURACY else "lower"
    axes.set_xlabel("")
    axes.set_ylabel(theme.metric_axis_label(name, better, upright=True))
    axes.grid(visible=True, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_ylim(0, 1.02 if name == ACCURACY else None)


def _without_decoder(own: pd.DataFrame) -> pd.DataFrame:
    """Return the history of an architecture; without a trained decoder its cross-entropy is its total loss."""
    if "val_decoder_loss" in own and own["val_decoder_loss"].notna().any():
        return own
    return own.assign(train_class_loss=own["train_loss"], val_class_loss=own["val_loss"])


def _one_sd(values: pd.Series) -> tuple[float, float]:
    mean, sd = mean_and_sd(list(values))
    return mean - sd, mean + sd
