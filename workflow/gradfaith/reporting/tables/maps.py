"""How far the maps can be believed: every method and control on every metric, paired contrasts, and other variants."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting import metric_rows
from gradfaith.reporting.metric_rows import display_label, display_name
from gradfaith.reporting.tables.contract import (
    COUNT_HEADS,
    ESTIMATE_COLUMNS,
    Block,
    Cell,
    Sheet,
    Table,
    count_cells,
    count_range,
    estimate_cell,
    interval_sentence,
    p_value_text,
)
from gradfaith.stats.estimates import MetricVariant
from gradfaith.vocabulary import CHANCE_VARIANTS, SHUFFLED

TABLE = Table(
    needs=("estimates", "contrasts"),
    section="Methods and controls",
    place=2,
    title="All metrics with all controls",
)
LOCALIZED = "locacc"
NO_EVIDENCE = "undefined: the dataset has no masks, so it is not known where the evidence lies"
GAINING, GAIN = "faith", "gain over shuffled"  # the plug-in whose gain is shown; its head
SIGN = "sign of the gain under all imputers"
COUNTED = (
    "The last columns count scores without a value, over all metrics of the row; shuffled maps count once per copy."
)


@dataclass(frozen=True)
class _Columns:
    """The columns of an architecture's blocks: metrics with their variants."""

    main: Sequence[MetricVariant]  # primary variants, and the levels of chance
    other: Sequence[MetricVariant]
    paired: Sequence[MetricVariant]  # those of the paired contrasts
    gains: Sequence[MetricVariant]  # those that are also shown as a gain over shuffled maps
    undefined: Sequence[str]  # plug-ins that have no number on this dataset


def tabulate(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> Sheet:
    """Return every method and control on every metric, and every paired contrast, architecture by architecture."""
    everything, compared = tables["estimates"], metric_rows.contrasts_with_controls(tables["contrasts"])
    contrasts = metric_rows.with_family_intervals(compared)
    estimates, without_evidence = metric_rows.rows_over_all_images(everything), _lacks_masks(about)
    columns = _columns(estimates, contrasts, about.metrics, [LOCALIZED] if without_evidence else [])
    archs = [name for name in about.architectures if name in set(estimates["arch"])]
    blocks = [block for arch in archs for block in _blocks_of(arch, estimates, contrasts, columns, about)]
    lead = (_primary_sentence(contrasts, about), interval_sentence(estimates, about), COUNTED, *about.notes)
    data = pd.concat(
        [everything, *([_rows_without_evidence(estimates)] if without_evidence else []), compared], ignore_index=True
    )
    data = data.astype({name: "Int64" for name in data if str(name).startswith("n_")})
    return Sheet(f"Maps, {about.title}", lead, tuple(blocks), data[[name for name in ESTIMATE_COLUMNS if name in data]])


def _lacks_masks(about: StudyDescription) -> bool:
    """Return whether localization is missing because the images have no masks; rows of a table never have any."""
    return about.evidence == "none" and not about.of_table


def _columns(
    estimates: pd.DataFrame, contrasts: pd.DataFrame, metrics: Mapping[str, str], undefined: Sequence[str]
) -> _Columns:
    labels = metric_rows.metrics_in_display_order(estimates, metrics)
    pairs = dict.fromkeys(estimates[["metric", "variant"]].itertuples(index=False, name=None))
    default = list(metric_rows.DEFAULT_METRICS)
    after = default.index(GAINING) + 1
    first = {name: place for place, name in enumerate([*default[:after], *metric_rows.BESIDE_FAITH, *default[after:]])}
    columns = sorted(pairs, key=lambda column: first.get(metrics.get(column[0], column[0]), len(first)))
    primary = [(label, metric_rows.primary_variant(estimates, label)) for label in labels]
    main = [column for column in columns if column in primary or column[1] in CHANCE_VARIANTS]
    gaining = metric_rows.labels_of_plugin(GAINING, labels, metrics)
    return _Columns(
        main=main,
        other=[column for column in columns if column not in main],
        paired=[
            column for column in primary if column[0] in set(contrasts["metric"]) and column[1] not in CHANCE_VARIANTS
        ],
        gains=[column for column in columns if column[0] in gaining],
        undefined=undefined,
    )


def _blocks_of(
    arch: str, estimates: pd.DataFrame, contrasts: pd.DataFrame, columns: _Columns, about: StudyDescription
) -> Iterator[Block]:
    """Yield an architecture's estimates, its contrasts, and its estimates in other variants."""
    own, against = estimates[estimates["arch"] == arch], contrasts[contrasts["arch"] == arch]
    methods = metric_rows.methods_in_display_order(own, about.controls)
    main, paired, other = (
        [metric_rows.display_column(column, about.metrics) for column in part]
        for part in (columns.main, columns.paired, columns.other)
    )
    gains = [f"{metric_rows.display_column(column, about.metrics)}, {GAIN}" for column in columns.gains]
    signs = [SIGN] if len(columns.gains) > 1 else []
    head = [*map(display_name, columns.undefined), *main, *gains, *signs, *COUNT_HEADS]
    lines = [_estimate_line(own, against, name, columns) for name in methods]
    yield Block(f"{arch}: estimates", ["method", *head], lines, _images_and_classes(own, columns.main, about))
    if own["seed_values"].str.contains(" ").any():
        seeds = [[Cell(name), *_seed_cells(own[own["method"] == name], columns.main)] for name in methods]
        yield Block(f"{arch}: mean of each seed, and their standard deviation", ["method", *main], seeds)
    pairs = against[["method", "against"]].drop_duplicates().itertuples(index=False, name=None)
    compared = [[Cell(f"{a} minus {b}"), *_contrast_cells(against, a, b, columns.paired)] for a, b in pairs]
    yield Block(
        f"{arch}: differences paired by image; intervals and p hold for a family at once",
        ["difference", *paired],
        compared,
    )
    if other:
        lines = [[Cell(name), *_estimate_cells(own[own["method"] == name], columns.other)] for name in methods]
        yield Block(f"{arch}: other variants", ["method", *other], lines)


def _estimate_line(own: pd.DataFrame, against: pd.DataFrame, method: str, columns: _Columns) -> list[Cell]:
    here = own[own["method"] == method]
    gain = against[(against["method"] == method) & (against["against"] == SHUFFLED + method)]
    undefined = [Cell("undefined", NO_EVIDENCE) for _ in columns.undefined]
    cells = [*_estimate_cells(here, columns.main), *_estimate_cells(gain, columns.gains)]
    cells += [_sign_cell(gain, columns.gains)] if len(columns.gains) > 1 else []
    return [Cell(method), *undefined, *cells, *count_cells(here)]


def _images_and_classes(
    own: pd.DataFrame, columns: Sequence[MetricVariant], about: StudyDescription
) -> tuple[str, ...]:
    """Return over how many images each column is, and the maps of which class it reads."""
    sentences = []
    for column in columns:
        rows = metric_rows.rows_of_metric(own, *column)
        classes = " or ".join(f"the {name} class" for name in dict.fromkeys(rows["target"])) if "target" in rows else ""
        maps_of = f", maps of {classes}" if classes else ""
        sentences.append(
            f"{metric_rows.display_column(column, about.metrics)}: {count_range(rows['n_images'])} images{maps_of}."
        )
    return tuple(sentences)


def _seed_cells(own: pd.DataFrame, columns: Sequence[MetricVariant]) -> list[Cell]:
    """Return the mean of every seed and their standard deviation, as papers print it."""
    cells = []
    for column in columns:
        rows = metric_rows.rows_of_metric(own, *column)
        values = [] if rows.empty else [float(text) for text in str(rows["seed_values"].iloc[0]).split()]
        text = ", ".join(f"{value:.3f}" for value in values) or "-"
        cells.append(Cell(f"{text} (sd {rows['sd_seeds'].iloc[0]:.3f})" if len(values) > 1 else text))
    return cells


def _sign_cell(gain: pd.DataFrame, columns: Sequence[MetricVariant]) -> Cell:
    """Return whether a method's gains have one sign under all imputers, by the intervals of their families."""
    rows = [metric_rows.rows_of_metric(gain, *column) for column in columns]
    if any(row.empty or row["low"].isna().all() for row in rows):
        return Cell("-")
    ends = [(float(row["low"].iloc[0]), float(row["high"].iloc[0])) for row in rows]
    above, below = all(low > 0 for low, _ in ends), all(high < 0 for _, high in ends)
    return Cell("above 0" if above else "below 0" if below else "not shown")


def _rows_without_evidence(estimates: pd.DataFrame) -> pd.DataFrame:
    """Return what the CSV says of localization where there is no evidence: a line per method, and no number."""
    cells = estimates[["arch", "method"]].drop_duplicates()
    return cells.assign(metric=LOCALIZED, variant="", value=float("nan"), reason=NO_EVIDENCE)


def _primary_sentence(contrasts: pd.DataFrame, about: StudyDescription) -> str:
    """Return the comparison named beforehand, in one sentence."""
    asked = about.primary
    own = contrasts[contrasts["primary"].astype(bool)] if "primary" in contrasts else contrasts[:0]
    own = metric_rows.rows_of_metric(own, asked.metric)
    what = f"{asked.method} minus {asked.against} in {display_label(asked.metric, about.metrics)}"
    if own.empty:
        return f"Primary contrast, named beforehand: {what}; the study has no such comparison."
    own = own.sort_values("arch", key=lambda names: names.map(about.architectures.index))
    found = "; ".join(f"{row['arch']} {_signed_text(row)}{p_value_text(row['p'])}" for row in own.to_dict("records"))
    better = {"higher": "above 0 is better", "lower": "below 0 is better"}.get(about.better.get(asked.metric, ""), "")
    return f"Primary contrast, named beforehand: {what}: {found}{f' ({better})' if better else ''}."


def _estimate_cells(own: pd.DataFrame, columns: Sequence[MetricVariant]) -> list[Cell]:
    return [estimate_cell(metric_rows.rows_of_metric(own, *column)) for column in columns]


def _contrast_cells(table: pd.DataFrame, method: str, against: str, columns: Sequence[MetricVariant]) -> list[Cell]:
    own = table[(table["method"] == method) & (table["against"] == against)]
    cells = []
    for column in columns:
        here = metric_rows.rows_of_metric(own, *column)
        cell = estimate_cell(here, signed=True)
        cells.append(Cell(cell.text + p_value_text(here["p"].iloc[0]), cell.footnote) if len(here) else cell)
    return cells


def _signed_text(row: metric_rows.TableRow) -> str:
    cell = estimate_cell(pd.DataFrame([row]), signed=True)
    return cell.text + (f" ({cell.footnote})" if cell.footnote else "")
