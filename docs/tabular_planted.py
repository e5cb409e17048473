"""Test the methods for tables on a planted truth, with two arms that must hurt; print the tables of docs/tabular.md.

    python docs/tabular_planted.py [REPETITIONS]      20 repetitions: 6 minutes of one core

Every repetition draws a new table (data/tabular/census.py), splits it, fits the models, and explains the same rows with every
method and control. Intervals are over repetitions; differences are paired by repetition.

    arm 1   `salary_grade` has no effect. Correlated with `education` (0.9 instead of 0) it must get a larger share of the
            attributions, and attributions must follow the planted truth less, because models then use the copy, too.
    arm 2   LIME with a narrow kernel (0.15 instead of 0.75) fits few rows, so its order must be nearer to chance, and two runs
            must agree less.
"""

import sys
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from gradfaith.attribution.tabular.cell import TableRows, explain_table, fit_on_table, predict_table
from gradfaith.config import options
from gradfaith.config.study import PluginUse
from gradfaith.config.tabular import CONTROLS, ExplainTable, TableExplainSettings
from gradfaith.data.split import split
from gradfaith.data.tabular import census
from gradfaith.data.tabular.columns import FEATURE, encode_table, make_manifest
from gradfaith.scoring.tabular import ScoredModel, ScoreRules, score_model
from gradfaith.stats.interval_scales import Bounds, IntervalRule
from gradfaith.stats.intervals import intervals_by_cell
from gradfaith.vocabulary import BINARY, SHUFFLED

REPETITIONS, PEOPLE, ROWS, BACKGROUND = 20, 300, 16, 8
APART, TOGETHER = 0.0, 0.9  # correlation of `salary_grade` with `education`
COPY, COPY_SHARE = "salary_grade", "share of the copy"
WIDE, NARROW = "lime", "lime-narrow"
MODELS = ("linear", "boosted_trees")
METHODS = {
    "exact_shapley": {}, "kernel_shap": {}, "shapley_sampling": {}, WIDE: {}, NARROW: {"width": 0.15},
}  # fmt: skip
METRICS = ("truth_auc", "truth_correlation", "exact_correlation", "removal_gap", "repeat_agreement")
SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
KEYS = ["correlation", "arch", "method", "metric"]
OF_DIFFERENCES = Bounds(-2, 2)


def use_of(group: str, name: str, **own: object) -> PluginUse:
    """Return a plug-in with all its options, as a study has it."""
    return PluginUse(use=name, options=options.complete(group, name, own))


def repetition(seed: int, correlation: float, models: Iterable[str] = MODELS) -> Iterator[pd.DataFrame]:
    """Yield one number per model, method and metric: the mean over the explained rows of one table."""
    source = census.read(people=PEOPLE, waves=1, correlation=correlation, seed=seed)
    table = encode_table(source, "classification")
    manifest = make_manifest(table, source)
    rows = TableRows.of(table.rows, split(manifest, SHARES, classes=BINARY, tolerance=0.1, seed=seed))
    methods = {
        label: use_of("table_methods", label.partition("-")[0], **own)
        for label, own in (METHODS | {name: {} for name in CONTROLS}).items()
    }
    how = TableExplainSettings(
        methods=methods, explain=ExplainTable(rows=ROWS, background=BACKGROUND), task="classification", seed=seed
    )
    rules = ScoreRules(
        {name: use_of("table_metrics", name) for name in METRICS}, ["marginal"], "exact_shapley", [], seed
    )
    for arch in models:
        model = fit_on_table(rows, table.content()["columns"], use_of("table_models", arch), "classification", seed)
        found = explain_table(rows, manifest, model, how)
        scored = ScoredModel(model, found, rows, predict_table(rows, model, manifest))
        scores = pd.concat(score_model(scored, rules, {"arch": arch, "seed": seed}), ignore_index=True)
        means = pd.concat([scores[["method", "metric", "value"]], copy_shares(found)])
        means = means.groupby(["method", "metric"], as_index=False)["value"].mean()
        yield means.assign(correlation=correlation, arch=arch, repetition=seed)


def copy_shares(found: pd.DataFrame) -> pd.DataFrame:
    """Return the share that the copy has of each row's attributions, by size."""
    own = found[found["repeat"] == 0]
    sizes = own.filter(regex=f"^{FEATURE}").abs()
    total = sizes.sum(axis=1)
    return own[["method"]].assign(metric=COPY_SHARE, value=sizes[FEATURE + COPY] / total.where(total > 0))


def measure(repetitions: Iterable[int], models: Iterable[str] = MODELS) -> pd.DataFrame:
    """Return one number per repetition, correlation, model, method and metric."""
    parts = (part for seed in repetitions for arm in (APART, TOGETHER) for part in repetition(seed, arm, models))
    return pd.concat(parts, ignore_index=True)


def intervals(numbers: pd.DataFrame, keys: list[str], bounds: Bounds) -> pd.DataFrame:
    """Return mean and interval over repetitions by keys."""
    frame = numbers.assign(
        group=numbers["repetition"].astype(str), image_id=numbers["repetition"].astype(str), seed=0, arch2="", seed2=""
    )
    return intervals_by_cell(frame[frame["value"].notna()], keys, IntervalRule(), bounds)


def estimates(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of every method and metric in each arm, with its interval."""
    unsigned = numbers["metric"].isin(["truth_auc", COPY_SHARE])
    parts = [(numbers[unsigned], Bounds(0, 1)), (numbers[~unsigned], Bounds(-1, 1))]
    return pd.concat([intervals(own, KEYS, bounds) for own, bounds in parts], ignore_index=True)


def difference(numbers: pd.DataFrame, column: str, first: object, second: object) -> pd.DataFrame:
    """Return first minus second of a column's values, paired by repetition, with intervals."""
    keys = [key for key in KEYS if key != column]
    one, two = (
        numbers[numbers[column] == value].set_index([*keys, "repetition"])["value"] for value in (first, second)
    )
    return intervals((one - two).dropna().rename("value").reset_index(), keys, OF_DIFFERENCES)


def shown(row: pd.Series, *, signed: bool = False) -> str:
    """Return a number with its interval."""
    text = f"{row['value']:{'+' if signed else ''}.2f}"
    return text if np.isnan(row["low"]) else f"{text} [{row['low']:.2f}, {row['high']:.2f}]"


def correlated_table(numbers: pd.DataFrame, arch: str) -> Iterator[str]:
    """Yield arm 1 as Markdown: every method and control with and without the correlated copy."""
    found = estimates(numbers[numbers["arch"] == arch]).set_index(["method", "metric", "correlation"])
    moved = difference(numbers[numbers["arch"] == arch], "correlation", TOGETHER, APART).set_index(["method", "metric"])
    yield f"| {arch} | truth AUC, uncorrelated | correlated | difference | share of the copy, uncorrelated | correlated | difference |"
    yield "|---|" + "---|" * 6
    for method in [*METHODS, *(SHUFFLED + name for name in METHODS), *CONTROLS]:
        cells = []
        for metric in ("truth_auc", COPY_SHARE):
            cells += [shown(found.loc[(method, metric, arm)]) for arm in (APART, TOGETHER)]
            cells.append(shown(moved.loc[(method, metric)], signed=True))
        yield f"| `{method}` | {' | '.join(cells)} |"


def kernel_table(numbers: pd.DataFrame) -> Iterator[str]:
    """Yield arm 2 as Markdown: LIME with its default and with a narrow kernel."""
    own = numbers[numbers["correlation"] == APART]
    found = estimates(own).set_index(["arch", "metric", "method"])
    moved = difference(own, "method", NARROW, WIDE).set_index(["arch", "metric"])
    yield "| model | metric | `lime`, 0.75 | `lime-narrow`, 0.15 | difference |"
    yield "|---|---|---|---|---|"
    for arch in MODELS:
        for metric in METRICS:
            cells = [shown(found.loc[(arch, metric, method)]) for method in (WIDE, NARROW)]
            yield f"| {arch} | `{metric}` | {' | '.join(cells)} | {shown(moved.loc[(arch, metric)], signed=True)} |"


if __name__ == "__main__":
    everything = measure(range(int(sys.argv[1]) if len(sys.argv) > 1 else REPETITIONS))
    for model in MODELS:
        print("\n".join(correlated_table(everything, model)), end="\n\n")
    print("\n".join(kernel_table(everything)))
