"""What is compared beside methods and controls: methods, refined methods, architectures, imputers, agreement with chance.

One block per kind of comparison. Every line has one difference, with the interval and the p-value of this difference alone
("one difference"), and those that hold for its family at once ("family"). The metrics are those that are shown first; the
CSV has all of them. If the study names a margin for the metric, a line says whether the two are equivalent within it.
"""

from collections.abc import Mapping

import pandas as pd

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting import metric_rows
from gradfaith.reporting.metric_rows import TableRow, display_column
from gradfaith.reporting.tables.contract import (
    ESTIMATE_COLUMNS,
    Block,
    Cell,
    Sheet,
    Table,
    estimate_cell,
    interval_sentence,
    p_value_text,
)

TABLE = Table(needs=("contrasts",), section="Methods and controls", place=11, title="Methods, architectures and chance")
WHAT = (
    "Differences on the same images and seeds. The first interval and p-value are those of one difference, not adjusted. The "
    "second ones hold for all differences of a family at once: one kind of comparison, metric, imputer and architecture, or "
    "pair of architectures. A large p-value does not show that two methods are equally good: that needs a test of equivalence, "
    "which is not adjusted for the number of pairs."
)
CAPTIONS = {
    "method": "Methods with each other, on one architecture",
    "base": "Refined methods with the methods that they refine",
    "architecture": "Architectures with each other, for one method",
    "imputer": "Imputers with each other, for one method",
    "chance": "Agreement between seeds minus its chance level, over all images and by class",
    "part": "Test images minus training images; these are not paired",
}
HEAD = (
    "difference",
    "metric",
    "images",
    "one difference",
    "family",
    "degrees of freedom",
    "equivalence (not adjusted)",
)
ON_ONE_SCALE = "faith_calibrated"  # the form of Faith that compares architectures
NOTHING = "The study has one method, one architecture, one imputer and one seed: nothing is compared here."


def tabulate(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> Sheet:
    """Return every difference of the metrics that are shown first, kind by kind."""
    table = tables["contrasts"]
    table = table[table["comparison"].isin(CAPTIONS)]
    first, labels = (
        metric_rows.metrics_to_show(table, about.metrics, primary=about.primary.metric),
        set(table["metric"]),
    )
    calibrated = metric_rows.labels_of_plugin(ON_ONE_SCALE, sorted(labels), about.metrics)
    between = (table["comparison"] == "architecture") & table["metric"].isin(calibrated)
    shown = table[table["metric"].isin(first) | between]
    blocks = []
    for kind, caption in CAPTIONS.items():
        rows = shown[shown["comparison"] == kind].to_dict("records")
        if rows:
            blocks.append(Block(caption, HEAD, [_line(row, about) for row in rows]))
    lead = (WHAT, interval_sentence(shown, about)) if blocks else (NOTHING,)
    data = table[[name for name in ESTIMATE_COLUMNS if name in table]]
    return Sheet(f"Comparisons, {about.title}", (*lead, *about.notes), tuple(blocks), data)


def _line(row: TableRow, about: StudyDescription) -> list[Cell]:
    rows = pd.DataFrame([row])
    one = estimate_cell(rows, signed=True)
    family = estimate_cell(metric_rows.with_family_intervals(rows), signed=True)
    within = family.text.partition(" ")[2]  # without the value, which the first interval has
    images = f"{row['n_images']} {row['label']}".strip()
    return [
        Cell(_difference(row)),
        Cell(display_column((row["metric"], row["variant"] if row["comparison"] != "imputer" else ""), about.metrics)),
        Cell(f"{images}, {row['target']} class"),
        Cell(one.text + p_value_text(row["p"]), one.footnote),
        Cell(within + p_value_text(row["p_family"]) if within else "-", family.footnote),
        Cell("-" if pd.isna(row["df"]) else f"{row['df']:.1f}"),
        Cell(equivalence_text(row, about.level)),
    ]


def _difference(row: TableRow) -> str:
    """Return what is subtracted from what."""
    arch, method, against = row["arch"], row["method"], row["against"]
    return {
        "architecture": f"{method}: {arch} minus {against}",
        "imputer": f"{method} on {arch}: {row['variant']} minus {against}",
        "chance": f"{method} on {arch}",
        "part": f"{method} on {arch}: test minus {against}",
    }.get(row["comparison"], f"{method} minus {against} on {arch}")


def equivalence_text(row: TableRow, level: float) -> str:
    """Return whether the two are equivalent within the margin of the metric; "-" without a margin or a test."""
    if pd.isna(row.get("p_equivalent")):
        return "-"
    found = "equivalent" if row["p_equivalent"] < 1 - level else "not shown equivalent"
    return f"{found} within ±{row['margin']:g}{p_value_text(row['p_equivalent'])}"
