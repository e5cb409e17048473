"""Table III of the report on explainable AI: how methods localize, over all images with evidence, with intervals.

The columns and their order are those of the report: saliency score, IoU, recall, precision, F1-score. Its table has one image
with one box; here each number is an average over the test images, with its interval, and the controls stand below the methods.
"""

from collections.abc import Mapping

import pandas as pd

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting import metric_rows
from gradfaith.reporting.tables.contract import Block, Cell, Sheet, Table, estimate_cell, interval_sentence
from gradfaith.vocabulary import SHUFFLED

TABLE = Table(
    needs=("estimates",),
    section="Methods and controls",
    place=22,
    title="Table III in the report's layout",
    optional=True,
)
COLUMNS = {"Saliency": "saliency_score", "IoU": "iou", "Recall": "recall", "Precision": "precision", "F1-Score": "f1"}


def tabulate(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> Sheet:
    """Return a block per architecture: methods and controls by the five metrics that the study has."""
    estimates = metric_rows.rows_over_all_images(tables["estimates"])
    labels = {
        name: metric_rows.labels_of_plugin(plugin, list(about.metrics), about.metrics)
        for name, plugin in COLUMNS.items()
    }
    columns = {name: found[0] for name, found in labels.items() if found}
    estimates = estimates[estimates["metric"].isin(columns.values())]
    blocks = []
    for arch in (name for name in about.architectures if name in set(estimates["arch"])):
        own = estimates[estimates["arch"] == arch]
        methods = metric_rows.methods_in_display_order(own, about.controls)
        kept = [name for name in methods if not name.startswith(SHUFFLED)]
        rows = [[Cell(name), *_cells(own[own["method"] == name], columns)] for name in kept]
        blocks.append(Block(arch, ["CAM Method", *columns], rows))
    lead = (interval_sentence(estimates, about), *about.notes)
    return Sheet(f"Table III, {about.title}", lead, tuple(blocks), estimates)


def _cells(own: pd.DataFrame, columns: Mapping[str, str]) -> list[Cell]:
    return [estimate_cell(metric_rows.rows_of_metric(own, metric), digits=4) for metric in columns.values()]
