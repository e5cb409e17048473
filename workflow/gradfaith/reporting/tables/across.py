"""The table across architectures: how far two architectures' maps agree, and each model's with the mean of all others.

One block per pair and one per architecture with the ensemble; beside every metric is its chance level, the same maps
compared between different images. A method that one side has and the other has not is named, not shown as a number. If the
study measures localization on a common grid, one block per metric has every architecture. The CSV contains the same rows,
also for classes and lesion sizes.
"""

from collections.abc import Iterator, Mapping

import pandas as pd

from gradfaith.config.result_settings import StudyDescription
from gradfaith.metrics.runners.ensemble import ENSEMBLE
from gradfaith.reporting import metric_rows
from gradfaith.reporting.metric_rows import display_label
from gradfaith.reporting.tables.contract import (
    COUNT_HEADS,
    COUNTS,
    ESTIMATE_COLUMNS,
    Block,
    Cell,
    Sheet,
    Table,
    count_range,
    estimate_cell,
    interval_sentence,
)
from gradfaith.vocabulary import BETWEEN_IMAGES, COMMON_GRID

TABLE = Table(
    needs=("estimates",),
    study_key="across",
    section="Methods and controls",
    place=10,
    title="Agreement and localization across architectures",
)
WHAT = (
    "Maps of the true class. Two architectures are compared seed by seed, on the images that both explained. The ensemble is "
    "the mean of all other models' maps, each with a sum of 1. Chance: the same comparison between different images of a class. "
    "No contrast is tested here."
)
LOCALIZED = (
    "Localization on a common grid: each method's maps are averaged to the coarsest grid that it has on any architecture, because "
    "finer maps hit small evidence better. The table of comparisons has the differences."
)


def tabulate(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> Sheet:
    """Return every pair of architectures, and every architecture with the ensemble, on every agreement metric."""
    estimates = tables["estimates"]
    table, own = metric_rows.rows_across_architectures(estimates), metric_rows.rows_over_all_images(estimates)
    place = {name: number for number, name in enumerate(about.architectures)}
    pairs = sorted(
        table[["arch", "arch2"]].drop_duplicates().itertuples(index=False, name=None),
        key=lambda pair: (pair[1] == ENSEMBLE, place[pair[0]], place.get(pair[1], 0)),
    )
    localized = own[own["variant"].astype("str").str.startswith(COMMON_GRID)]
    blocks = [_block(table, arch, arch2, about) for arch, arch2 in pairs]
    blocks += _localized_blocks(localized, about)
    alone = [line for arch, arch2 in pairs if arch2 != ENSEMBLE for line in _alone(own, arch, arch2)]
    named = f"Not compared, as only one side has a map: {'; '.join(alone)}." if alone else ""
    what = [sentence for sentence, rows in ((WHAT, table), (LOCALIZED, localized)) if len(rows)]
    shown = pd.concat([table, localized])
    lead = (*what, *([named] if named else []), interval_sentence(shown, about), *about.notes)
    single = metric_rows.rows_of_single_architectures(estimates)
    on_common_grid = estimates["variant"].astype("str").str.startswith(COMMON_GRID)
    everything = estimates[~estimates.index.isin(single.index) | on_common_grid]
    data = everything[[name for name in ESTIMATE_COLUMNS if name in everything]]
    return Sheet(f"{TABLE.title}, {about.title}", lead, tuple(blocks), data)


def _localized_blocks(localized: pd.DataFrame, about: StudyDescription) -> Iterator[Block]:
    """Yield a block per localization metric: every method, a column per architecture."""
    archs = [name for name in about.architectures if name in set(localized["arch"])]
    for column in dict.fromkeys(localized[["metric", "variant"]].itertuples(index=False, name=None)):
        own = metric_rows.rows_of_metric(localized, *column)
        lines = [
            [Cell(method), *(estimate_cell(own[(own["method"] == method) & (own["arch"] == arch)]) for arch in archs)]
            for method in metric_rows.methods_in_display_order(own, about.controls)
        ]
        yield Block(metric_rows.display_column(column, about.metrics), ["method", *archs], lines)


def _block(table: pd.DataFrame, arch: str, arch2: str, about: StudyDescription) -> Block:
    own = table[(table["arch"] == arch) & (table["arch2"] == arch2)]
    metrics = metric_rows.metrics_in_display_order(own, about.metrics)
    ensemble = arch2 == ENSEMBLE
    models = table[table["arch2"] == ENSEMBLE].drop_duplicates(["arch", "method"]).groupby("method")["n_seeds"].sum()
    lines = []
    for method in metric_rows.methods_in_display_order(own, about.controls):
        here = own[own["method"] == method]
        cells = [estimate_cell(_of(here, metric, chance)) for metric in metrics for chance in (False, True)]
        voters = [Cell(str(int(models[method]) - 1))] if ensemble else []
        found = here[here["variant"] != BETWEEN_IMAGES]
        counts = [Cell(count_range(found[f"n_{what}"])) for what in COUNTS]
        lines.append([Cell(method), *cells, *voters, *counts])
    head = ["method", *(text for metric in metrics for text in (display_label(metric, about.metrics), "chance"))]
    caption = f"{arch} and the mean of all others" if ensemble else f"{arch} and {arch2}"
    return Block(caption, [*head, *(["other models"] if ensemble else []), *COUNT_HEADS], lines)


def _of(here: pd.DataFrame, metric: str, chance: bool) -> pd.DataFrame:
    return here[(here["metric"] == metric) & ((here["variant"] == BETWEEN_IMAGES) == chance)]


def _alone(own: pd.DataFrame, arch: str, arch2: str) -> list[str]:
    """Return the methods that only one of two architectures has, counted and named."""
    first, second = (list(dict.fromkeys(own.loc[own["arch"] == name, "method"])) for name in (arch, arch2))
    lines = []
    for name, methods, others in ((arch, first, second), (arch2, second, first)):
        only = [method for method in methods if method not in others]
        if only:
            lines.append(f"{arch} and {arch2}, {len(only)} of {name} ({', '.join(only)})")
    return lines
