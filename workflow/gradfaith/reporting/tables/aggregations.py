"""Table 2 of "How to evaluate and refine your CAM": how the maps of several layers are combined.

    product   geometric mean   inverse-exponential mean                                 attribution/methods/refine.py

By ARCC in the paper's layout, then by every other metric in `ALSO` that the study has. The geometric mean is a monotone
function of the product, so a metric that reads only the order of pixels cannot tell the two apart: where ROAD differs at all,
ties of pixels that underflow are the reason. The paper does not state on which network its table rests; here every network
has its own rows.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting import metric_rows
from gradfaith.reporting.tables.contract import Block, Cell, Sheet, Table, estimate_cell, interval_sentence

TABLE = Table(
    needs=("estimates",),
    optional=True,
    section="Methods and controls",
    place=32,
    title="How layers are combined",
)
FIRST, ALSO = "arcc", ("road", "cosine", "complexity", "coherency", "topk_overlap")
WAYS = {"inverse_exp": "inverse-exp mean", "geometric": "geometric mean", "product": "product"}
ORDER_ONLY = "The geometric mean keeps the order of the product, so this metric cannot tell them apart."


def tabulate(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> Sheet:
    """Return a block per metric, with a row per combined method and network."""
    rows = metric_rows.rows_by_metric((FIRST, *ALSO), tables["estimates"], about.metrics)
    combined = (own[own["method"].isin(about.refinements)] for own in rows.values())
    data = pd.concat([*combined, tables["estimates"][:0]])
    blocks = [_block(metric, own, about) for metric, own in rows.items()]
    return Sheet(
        f"How layers are combined, {about.title}", (interval_sentence(data, about), *about.notes), blocks, data
    )


def _block(metric: str, rows: pd.DataFrame, about: StudyDescription) -> Block:
    methods = list(dict.fromkeys(refined.of for refined in about.refinements.values()))
    lines = []
    for of in methods:
        labels = {refined.combine: label for label, refined in about.refinements.items() if refined.of == of}
        for arch in about.architectures:
            here = rows[rows["arch"] == arch]
            if set(here["method"]) & set(labels.values()):
                lines.append([Cell(of), Cell(arch), *_cells(here, labels)])
    name = about.metrics.get(metric, metric)
    sentences = (ORDER_ONLY,) if name in ("road", "topk_overlap") else ()
    return Block(
        metric_rows.display_label(metric, about.metrics), ["method", "architecture", *WAYS.values()], lines, sentences
    )


def _cells(rows: pd.DataFrame, labels: Mapping[str, str]) -> Sequence[Cell]:
    return [estimate_cell(rows[rows["method"] == labels.get(way, "")], digits=2) for way in WAYS]
