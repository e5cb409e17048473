"""Win rates by class on each part of the split, as mean and standard deviation over seeds: Tables 3 and 4 of [pham2025].

A study names this table under `tables`. It must explain images of the training part, too. Rates come from
stats/over_seeds.py. Besides the primary metric the page shows every Top-K metric of the study. The CSV file has the rates of
every seed.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting import metric_rows
from gradfaith.reporting.metric_rows import display_label
from gradfaith.reporting.tables.contract import Block, Cell, Sheet, Table, estimate_cell
from gradfaith.stats.estimates import ALL_IMAGES
from gradfaith.stats.interval_scales import interval_rule
from gradfaith.stats.over_seeds import winrates_by_part, with_evidence

TABLE = Table(
    needs=("scores",),
    section="Methods and controls",
    place=17,
    title="Win rates on training and test images",
    optional=True,
)
TOP_K = ("topk_overlap", "tko_literature")
PART_WORDS = {"train": "training", "val": "validation", "test": "test"}
KEPT = (
    "part", "arch", "metric", "method", "by", "stratum", "mean", "sd", "value", "low", "high", "n_seeds", "seeds", "seed_values",
    "n_contests", "n_ties", "n_lost", "n_images", "n_groups", "interval", "reason",
)  # fmt: skip
WHAT = (
    "A contest is one image of one model, and the method with the best score wins. Methods that share the best score share the "
    "win, so a row adds up to 1. Images without evidence are left out."
)
HOW = (
    "Cells: mean and standard deviation over seeds, and in brackets the {level:g} % interval, over images or over images and "
    "seeds. The standard deviation divides by the number of seeds. It shows how much the models differ, not the error of the "
    "rate: all models see the same images."
)


def tabulate(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> Sheet:
    """Return a table for every architecture, part and metric: a row per class, a column per method."""
    rates = part_rates(tables["scores"], about)
    blocks = [
        _block(own, arch, metric, part, about)
        for arch in about.architectures
        for metric in dict.fromkeys(rates["metric"])
        for part in PART_WORDS
        if len(own := rates[(rates["arch"] == arch) & (rates["metric"] == metric) & (rates["part"] == part)])
    ]
    which = "Only images that the model classifies correctly count." if about.ranks.rank_only_correct else ""
    lead = tuple(filter(None, (f"{WHAT} {which}".strip(), HOW.format(level=100 * about.level), *about.notes)))
    return Sheet(f"Win rates on training and test images, {about.title}", lead, blocks, rates[list(KEPT)])


def part_rates(scores: pd.DataFrame, about: StudyDescription) -> pd.DataFrame:
    """Return the win rates of the methods on every part, in the primary metric and in the Top-K metrics of the study."""
    single = metric_rows.rows_of_single_architectures(scores)
    wanted = [about.primary.metric, *(label for label, use in about.metrics.items() if use in TOP_K)]
    rows = pd.concat([metric_rows.rows_of_metric(single, metric) for metric in dict.fromkeys(wanted)])
    texts = {name: "str" for name, kind in rows.dtypes.items() if isinstance(kind, pd.CategoricalDtype)}
    rows = rows.astype(texts)
    controls = [name for name in dict.fromkeys(rows["method"]) if metric_rows.is_control(name, about.controls)]
    rule = interval_rule(about.level, about.min_groups, about.bounds)
    rows = with_evidence(rows, about.primary.metric)
    return winrates_by_part(rows, controls, about.better, rule, only_correct=about.ranks.rank_only_correct)


def strata_in_order(rates: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """Return the strata of win rates that have contests: all images, then the classes."""
    present = set(rates["stratum"])
    return [name for name in (ALL_IMAGES, *classes) if name in present]


def _block(own: pd.DataFrame, arch: str, metric: str, part: str, about: StudyDescription) -> Block:
    methods = metric_rows.methods_in_display_order(own, about.controls)
    rows = []
    for stratum in strata_in_order(own, about.classes):
        here = own[own["stratum"] == stratum]
        of_method = {method: here[here["method"] == method] for method in methods}
        first = here.iloc[0]
        ties = " / ".join(str(int(of_method[method]["n_ties"].iloc[0])) for method in methods)
        counts = (int(first["n_contests"]), ties, int(first["n_lost"]))
        name = "overall" if stratum == ALL_IMAGES else stratum
        rows.append(
            [Cell(name), *(_cell(of_method[method]) for method in methods), *(Cell(str(count)) for count in counts)]
        )
    title = f"{arch}: win rate in {display_label(metric, about.metrics)} on the {PART_WORDS[part]} images"
    return Block(title, ("class", *methods, "contests", "ties of each method", "without a value"), rows)


def _cell(row: pd.DataFrame) -> Cell:
    interval = estimate_cell(row)
    only = row.iloc[0]
    bracket = interval.text[interval.text.find(" [") :] if " [" in interval.text else ""
    return Cell(f"{only['mean']:.3f} \u00b1 {only['sd']:.3f}{bracket}", interval.footnote)
