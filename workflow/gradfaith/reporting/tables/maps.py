"""How far the maps can be believed: every method and control on every metric, paired contrasts, and other variants."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gradfaith.reporting import metric_rows
from gradfaith.reporting.metric_rows import display_name
from gradfaith.reporting.tables.contract import (
    ESTIMATE_COLUMNS,
    Table,
    count_cells,
    estimate_cell,
    interval_sentence,
    p_value_text,
)
from gradfaith.reporting.tables.sheet import Block, Cell, Sheet
from gradfaith.stats.estimates import MetricVariant
from gradfaith.vocabulary import CHANCE_VARIANTS, NOT_OK, SHUFFLED

TABLE = Table(needs=("estimates", "contrasts"))
LOCALIZED = "locacc"
NO_EVIDENCE = "undefined: no evidence; the dataset has no masks, so where the truth lies is not known"
GAIN = "Faith, gain over shuffled"
COUNTED = "Undefined, degenerate and failed are counts of scores over the metrics of the line; shuffled maps count once per copy."


def tabulate(tables: Mapping[str, pd.DataFrame], about: Mapping[str, Any]) -> Sheet:
    """Return every method and control on every metric, and every paired contrast, architecture by architecture."""
    everything, contrasts = tables["estimates"], tables["contrasts"]
    estimates = metric_rows.rows_over_all_images(everything)
    columns, controls, without_evidence = _metric_variants(estimates), about["controls"], about["evidence"] == "none"
    main = [
        column
        for column in columns
        if column[1] in (metric_rows.primary_variant(estimates, column[0]), *CHANCE_VARIANTS)
    ]
    other = [column for column in columns if column not in main]
    paired = [column for column in main if column[1] not in CHANCE_VARIANTS and column[0] in set(contrasts["metric"])]
    archs = [name for name in about["architectures"] if name in set(estimates["arch"])]
    blocks = []
    for arch in archs:
        own, against = estimates[estimates["arch"] == arch], contrasts[contrasts["arch"] == arch]
        methods = metric_rows.methods_in_display_order(own, controls)
        gains_over_shuffled = against[
            [str(b) == SHUFFLED + str(a) for a, b in zip(against["method"], against["against"], strict=True)]
        ]
        head = [
            *([display_name(LOCALIZED)] if without_evidence else []),
            *map(_column_head, main),
            *([GAIN] if "faith" in set(own["metric"]) else []),
            "images",
            "groups",
            *NOT_OK,
        ]
        lines = [
            [
                Cell(name),
                *([Cell("undefined", NO_EVIDENCE)] if without_evidence else []),
                *_method_cells(own, gains_over_shuffled, name, main),
                *count_cells(own[own["method"] == name]),
            ]
            for name in methods
        ]
        blocks.append(Block(f"{arch}: estimates", ["method", *head], lines))
        pairs = against[["method", "against"]].drop_duplicates().itertuples(index=False, name=None)
        compared = [[Cell(f"{a} - {b}"), *_contrast_cells(against, a, b, paired)] for a, b in pairs]
        blocks.append(
            Block(
                f"{arch}: paired contrasts, p adjusted by Holm",
                ["contrast", *map(_column_head, paired)],
                compared,
            )
        )
        if other:
            extra = [[Cell(name), *_estimate_cells(own[own["method"] == name], other)] for name in methods]
            blocks.append(Block(f"{arch}: other variants", ["method", *map(_column_head, other)], extra))
    lead = (_primary_sentence(contrasts, about), interval_sentence(estimates, about), COUNTED, *about["notes"])
    data = pd.concat(
        [everything, *([_rows_without_evidence(estimates)] if without_evidence else []), contrasts], ignore_index=True
    )
    data = data.astype({name: "Int64" for name in data if str(name).startswith("n_")})
    return Sheet(
        f"Maps, {about['title']}", lead, tuple(blocks), data[[name for name in ESTIMATE_COLUMNS if name in data]]
    )


def _rows_without_evidence(estimates: pd.DataFrame) -> pd.DataFrame:
    """Return what the CSV says of localization where there is no evidence: a line per method, and no number."""
    cells = estimates[["arch", "method"]].drop_duplicates()
    return cells.assign(metric=LOCALIZED, variant="", value=float("nan"), reason=NO_EVIDENCE)


def _primary_sentence(contrasts: pd.DataFrame, about: Mapping[str, Any]) -> str:
    """Return the comparison named beforehand, in one sentence."""
    asked = about["primary"]
    own = contrasts[contrasts["primary"].astype(bool)] if "primary" in contrasts else contrasts[:0]
    own = metric_rows.rows_of_metric(own, asked["metric"])
    what = f"{asked['method']} minus {asked['against']} in {display_name(asked['metric'])}"
    if own.empty:
        return f"Primary contrast, named beforehand: {what}; there is no such row."
    own = own.sort_values("arch", key=lambda names: names.map(about["architectures"].index))
    found = "; ".join(f"{row['arch']} {_signed_text(row)}{p_value_text(row['p'])}" for row in own.to_dict("records"))
    better = {"higher": "above 0 is better", "lower": "below 0 is better"}.get(
        about["better"].get(asked["metric"], ""), ""
    )
    return f"Primary contrast, named beforehand: {what} is {found}{f' ({better})' if better else ''}."


def _metric_variants(table: pd.DataFrame) -> list[MetricVariant]:
    """Return metric and variant, the paper's metrics first."""
    pairs = list(dict.fromkeys(table[["metric", "variant"]].itertuples(index=False, name=None)))
    order = {name: place for place, name in enumerate(metric_rows.DEFAULT_METRICS)}
    return sorted(pairs, key=lambda pair: order.get(pair[0], len(order)))


def _column_head(column: MetricVariant) -> str:
    return display_name(column[0]) + (f" ({column[1]})" if column[1] else "")


def _estimate_cells(own: pd.DataFrame, columns: Sequence[MetricVariant]) -> list[Cell]:
    return [estimate_cell(metric_rows.rows_of_metric(own, *column)) for column in columns]


def _method_cells(
    own: pd.DataFrame, gains_over_shuffled: pd.DataFrame, method: str, columns: Sequence[MetricVariant]
) -> list[Cell]:
    cells = _estimate_cells(own[own["method"] == method], columns)
    if "faith" not in set(own["metric"]):
        return cells
    return [
        *cells,
        estimate_cell(
            metric_rows.rows_of_metric(
                gains_over_shuffled[gains_over_shuffled["method"] == method],
                "faith",
                metric_rows.primary_variant(own, "faith"),
            )
        ),
    ]


def _contrast_cells(table: pd.DataFrame, method: str, against: str, columns: Sequence[MetricVariant]) -> list[Cell]:
    own = table[(table["method"] == method) & (table["against"] == against)]
    cells = []
    for column in columns:
        here = metric_rows.rows_of_metric(own, *column)
        cell = estimate_cell(here, signed=True)
        cells.append(Cell(cell.text + p_value_text(here["p_holm"].iloc[0]), cell.footnote) if len(here) else cell)
    return cells


def _signed_text(row: metric_rows.TableRow) -> str:
    cell = estimate_cell(pd.DataFrame([row]), signed=True)
    return cell.text + (f" ({cell.footnote})" if cell.footnote else "")
