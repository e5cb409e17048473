"""Losses and balanced accuracy of each part of the split, as mean and standard deviation over seeds: Table 2 of [pham2025].

Measured by every training with the weights that it keeps, without augmentation and class weights, and stored in the model's
card. Only architectures with a decoder have these numbers.
"""

from collections.abc import Mapping

import pandas as pd

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting.tables.contract import Block, Cell, Sheet, Table
from gradfaith.stats.over_seeds import mean_and_sd
from gradfaith.vocabulary import PARTS

TABLE = Table(
    needs=("cards",),
    section="Classification",
    place=5,
    title="Losses by part of the split",
    optional=True,
)
HEADS = {
    "total_loss": "total loss",
    "class_loss": "cross-entropy",
    "decoder_loss": "decoder's loss",
    "balanced_accuracy": "balanced accuracy",
}
LOSS_WORDS = {"bce": "binary cross-entropy", "mse": "mean squared error"}
TARGET_WORDS = {"mask": "the mask of the evidence", "image": "the image"}
WHAT = (
    "Cells: mean and standard deviation over seeds (divided by the number of seeds), of the weights that the study uses, without "
    "augmentation. Total loss = cross-entropy + weight x decoder's loss. The table of the classification has intervals of the "
    "balanced accuracy on the test images."
)


def tabulate(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> Sheet:
    """Return one table per architecture with a decoder: a row per part of the split."""
    table = tables["cards"]
    blocks = [_block(arch, own) for arch in about.architectures if len(own := table[table["arch"] == arch])]
    return Sheet(f"Losses, {about.title}", (WHAT, *about.notes), blocks, table)


def _block(arch: str, own: pd.DataFrame) -> Block:
    first = own.iloc[0]
    trained = f"weight {first['weight']:g}, {LOSS_WORDS[first['loss']]} to {TARGET_WORDS[first['target']]}"
    title = f"{arch}: decoder with {trained}" if first["weight"] else f"{arch}: decoder not trained (weight 0)"
    rows = [
        [
            Cell(str(part)),
            *(_cell(rows[name]) for name in HEADS),
            Cell(str(rows["images"].iloc[0])),
            Cell(str(len(rows))),
        ]
        for part, rows in sorted(own.groupby("part"), key=lambda item: PARTS.index(str(item[0])))
    ]
    return Block(title, ("part", *HEADS.values(), "images", "seeds"), rows)


def _cell(values: pd.Series) -> Cell:
    mean, sd = mean_and_sd(list(values.astype(float)))
    return Cell(f"{mean:.4f} \u00b1 {sd:.4f}") if pd.notna(mean) else Cell("-")
