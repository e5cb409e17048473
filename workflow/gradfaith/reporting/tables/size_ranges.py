"""How well each network classifies objects of each kind that the dataset states, such as small, medium and large shapes.

The kind of an image is that of its first object (`lesion_kind` in the manifest). Each cell is the accuracy on the test images
of one kind, estimated as in the table of classification (stats/classification.py), with its interval. A network that
misses small objects has maps of small objects that explain wrong answers.
"""

from collections.abc import Mapping

import pandas as pd

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting import metric_rows
from gradfaith.reporting.tables.contract import (
    Block,
    Cell,
    Sheet,
    Table,
    architecture_block,
    estimate_cell,
    interval_sentence,
)
from gradfaith.stats.classification import estimate_classification
from gradfaith.stats.interval_scales import interval_rule
from gradfaith.vocabulary import LESION_SIZES

TABLE = Table(
    needs=("predictions", "manifest"),
    optional=True,
    section="Classification",
    place=15,
    title="Accuracy by size range",
)
RATES = ("accuracy", "balanced_accuracy")
NOTHING = "The dataset states no kind of object for its test images."


def tabulate(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> Sheet:
    """Return a block per rate: a row per network, a column per kind."""
    kind = tables["manifest"].set_index("image_id")["lesion_kind"]
    predictions = tables["predictions"]
    predictions = predictions[predictions["part"] == "test"].assign(kind=lambda table: table["image_id"].map(kind))
    predictions = predictions[predictions["kind"].fillna("") != ""]
    title = f"Accuracy by size range, {about.title}"
    if predictions.empty:
        return Sheet(title, (NOTHING,), (), predictions[:0])
    rule = interval_rule(about.level, about.min_groups, {})
    kinds = sorted(
        set(predictions["kind"]), key=lambda name: (LESION_SIZES.index(name) if name in LESION_SIZES else 9, name)
    )
    table = pd.concat(
        [
            estimate_classification(predictions[predictions["kind"] == name], about.classes, rule=rule).assign(
                kind=name
            )
            for name in kinds
        ]
    )
    table = metric_rows.macro_average_rows(table[table["metric"].isin(RATES)])
    table = table[[*table.columns[-1:], *table.columns[:-1]]]
    blocks = [_block(rate, table, kinds, about) for rate in RATES]
    return Sheet(title, (interval_sentence(table, about), *about.notes), blocks, table)


def _block(rate: str, table: pd.DataFrame, kinds: list[str], about: StudyDescription) -> Block:
    own = table[table["metric"] == rate]

    def rate_of(arch: str, kind: str) -> Cell:
        return estimate_cell(own[(own["arch"] == arch) & (own["kind"] == kind)], digits=2)

    return architecture_block(metric_rows.display_name(rate), about.architectures, kinds, rate_of)
