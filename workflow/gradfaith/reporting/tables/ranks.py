"""The table of ranks: how often each method is the best on an image, its mean rank, and how many ties that hides.

Numbers are taken as they come from stats/winrates.py, of each metric's primary variant; the CSV holds all of them, and the
classes. By class the page shows the primary metric only.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting import metric_rows
from gradfaith.reporting.metric_rows import display_label
from gradfaith.reporting.tables.contract import Block, Cell, Sheet, Table, estimate_cell, interval_sentence
from gradfaith.stats.image_scores import CONTEXT_KEYS
from gradfaith.stats.winrates import MEASURES, WIN_RATE

TABLE = Table(
    needs=("ranks",),
    section="Methods and controls",
    place=9,
    title="How often each method is best",
)
KEPT = (
    *CONTEXT_KEYS, "method", "beside", "measure", "by", "stratum", "value", "low", "high", "se", "n_images", "n_groups", "n_seeds", "seeds",
    "n_contests", "n_ties", "n_lost", "n_methods", "interval", "reason",
)  # fmt: skip
BESIDE = "Each control competes alone against all methods; the methods compete with one another."
AMONG = "Controls compete in every contest."
WHAT = (
    "A contest is one image of one model. Methods that share the best score share the win. A contest does not count if a method "
    "has no value. Of shuffled maps the first copy competes."
)


def tabulate(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> Sheet:
    """Return win rates, mean ranks and ties by architecture, on every metric of which one end is better."""
    table = tables["ranks"]
    whole = metric_rows.rows_over_all_images(table)
    blocks = [block for arch in about.architectures for block in _of_arch(whole, table, arch, about) if len(block.rows)]
    asked = about.ranks
    who = BESIDE if asked.rank_controls == "beside" else AMONG
    which = " Only images that the model classifies correctly count." if asked.rank_only_correct else ""
    lead = (f"{WHAT} {who}{which}", interval_sentence(whole, about), *about.notes)
    return Sheet(f"Ranks, {about.title}", lead, tuple(blocks), table[[name for name in KEPT if name in table]])


def _of_arch(whole: pd.DataFrame, table: pd.DataFrame, arch: str, about: StudyDescription) -> list[Block]:
    own = whole[whole["arch"] == arch]
    metrics, methods = (
        metric_rows.metrics_in_display_order(own, about.metrics),
        metric_rows.methods_in_display_order(own, about.controls),
    )
    wins, places = (own[own["measure"] == measure] for measure in MEASURES)
    head = ["method", *(display_label(label, about.metrics) for label in metrics)]
    primary = about.primary.metric
    strata = table[(table["arch"] == arch) & (table["by"] == "label") & (table["measure"] == WIN_RATE)]
    strata = metric_rows.rows_of_metric(strata, primary)
    classes = [name for name in about.classes if name in set(strata["stratum"])]
    by_class = [
        [Cell(method), *(estimate_cell(_row(strata[strata["stratum"] == name], method)) for name in classes)]
        for method in methods
    ]
    return [
        Block(f"{arch}: win rate", head, _lines(wins, methods, metrics)),
        Block(f"{arch}: mean rank", head, _lines(places, methods, metrics, digits=2)),
        Block(
            f"{arch}: shared first places, of all contests (contests without a value)",
            head,
            _ties(wins, methods, metrics),
        ),
        Block(
            f"{arch}: win rate in {display_label(primary, about.metrics)} by class",
            ["method", *classes],
            by_class if classes else [],
        ),
    ]


def _row(table: pd.DataFrame, method: str) -> pd.DataFrame:
    return table[table["method"] == method]


def _lines(table: pd.DataFrame, methods: Sequence[str], metrics: Sequence[str], digits: int = 3) -> list[list[Cell]]:
    return [
        [
            Cell(method),
            *(
                estimate_cell(_row(metric_rows.rows_of_metric(table, metric), method), digits=digits)
                for metric in metrics
            ),
        ]
        for method in methods
    ]


def _ties(table: pd.DataFrame, methods: Sequence[str], metrics: Sequence[str]) -> list[list[Cell]]:
    return [
        [Cell(method), *(_shared(_row(metric_rows.rows_of_metric(table, metric), method)) for metric in metrics)]
        for method in methods
    ]


def _shared(here: pd.DataFrame) -> Cell:
    if here.empty:
        return Cell("-")
    row = here.iloc[0]
    return Cell(f"{row['n_ties']} of {row['n_contests']} ({row['n_lost']})")
