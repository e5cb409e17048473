"""Table I of "Seeing Isn't Always Believing" in the paper's layout, and its three metrics of maps, class by class.

The columns and their order are those of the paper, with intervals: sensitivity, specificity, precision, recall, F1-score,
accuracy, time per image; with the size of the network from the paper's page. Table `classification` has more rates. Recall is
sensitivity averaged over the classes, so both columns have the same numbers, as in the paper. The second block has LocAcc,
Faith and Consist of the primary method in each class, which the paper defines and does not print.
"""

from collections.abc import Mapping

import pandas as pd

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting import metric_rows
from gradfaith.reporting.metric_rows import display_column
from gradfaith.reporting.tables.contract import Block, Cell, Sheet, Table, estimate_cell, interval_sentence
from gradfaith.reporting.tables.maps import NO_EVIDENCE

TABLE = Table(
    needs=("classification", "predictions", "estimates"),
    section="Classification",
    place=4,
    title="Table I in the paper's layout",
    optional=True,
)
RATES = {"Sensitivity": "sensitivity", "Specificity": "specificity", "Precision": "precision", "Recall": "sensitivity",
         "F1-score": "f1", "Accuracy": "accuracy"}  # fmt: skip
PLUGINS = ("locacc", "faith", "consist")


def tabulate(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> Sheet:
    """Return the table of classifiers, and LocAcc, Faith and Consist by class."""
    rates = metric_rows.macro_average_rows(tables["classification"])
    archs = [name for name in about.architectures if name in set(rates["arch"])]
    first = [
        [Cell(arch), *_rate_cells(rates[rates["arch"] == arch]), *_time_and_size(tables["predictions"], arch)]
        for arch in archs
    ]
    estimates = metric_rows.rows_of_single_architectures(tables["estimates"])
    estimates = estimates[(estimates["by"] == "label") & (estimates["method"] == about.primary.method)]
    shown = metric_rows.metrics_to_show(estimates, about.metrics, plugins=PLUGINS) if len(estimates) else []
    shown = [label for label in shown if about.metrics.get(label, label) in PLUGINS]
    head = [display_column((label, metric_rows.primary_variant(estimates, label)), about.metrics) for label in shown]
    unknown = [] if about.evidence != "none" else [Cell("undefined", NO_EVIDENCE)]
    by_class = [
        [Cell(arch), Cell(name), *unknown, *_class_cells(estimates, arch, name, shown)]
        for arch in archs
        for name in about.classes
    ]
    return Sheet(
        f"Table I, {about.title}",
        (
            f"Test images; rates are averages over the {len(about.classes)} classes. Time is the median per image at batch "
            "size 1, measured beside other jobs. Million parameters are those of the network with its head for these classes.",
            interval_sentence(rates, about),
            *about.notes,
        ),
        (
            Block("Table I", ["Model", *RATES, "Time (ms)", "Parameters (M)"], first),
            Block(
                f"Maps of {about.primary.method}, class by class",
                ["Model", "Class", *(["LocAcc"] if unknown else []), *head],
                by_class,
            ),
        ),
        pd.concat([rates, estimates[estimates["metric"].isin(shown)]], ignore_index=True),
    )


def _rate_cells(own: pd.DataFrame) -> list[Cell]:
    return [estimate_cell(own[own["metric"] == rate], digits=2) for rate in RATES.values()]


def _class_cells(estimates: pd.DataFrame, arch: str, name: str, metrics: list[str]) -> list[Cell]:
    own = estimates[(estimates["arch"] == arch) & (estimates["stratum"] == name)]
    return [estimate_cell(metric_rows.rows_of_metric(own, metric)) for metric in metrics]


def _time_and_size(predictions: pd.DataFrame, arch: str) -> list[Cell]:
    """Return milliseconds per image, the median over seeds, and millions of parameters."""
    own = predictions[predictions["arch"] == arch]
    if own.empty:
        return [Cell("-"), Cell("-")]
    size = f"{own['parameters'].iloc[0] / 1e6:.1f}" if "parameters" in own else "-"
    return [Cell(f"{1000 * own['seconds'].median():.0f}"), Cell(size)]
