"""Score the attributions of one model of tables: faithfulness by removal, truth, agreement with exact values and between runs.

A row of the result is one attribution (method, copy) of one row and metric, with the columns of any table of scores, so that
estimates, contrasts, win rates, verdict, figures and tables are those of studies of images. `image_id` is the id of a row of
the table. The agreement between training seeds has a function of its own, because it reads all models of an architecture.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from gradfaith import registry, rng
from gradfaith.attribution.tabular.cell import TableRows
from gradfaith.config.study import PluginUse
from gradfaith.data.tabular.columns import FEATURE, TRUTH
from gradfaith.metrics.contract import Result
from gradfaith.metrics.tabular.contract import FeatureImputer, JudgedRows, Matrix
from gradfaith.models.tabular.contract import FittedModel
from gradfaith.scoring.score_rows import index_by_image, score_table
from gradfaith.vocabulary import BETWEEN_IMAGES, CONSTANT_RANGE, SEED_PAIRS, SHUFFLED, TableImputer

METRICS = "table_metrics"  # the group of plug-ins
EXACT = "exact_shapley"
NO_VALUE = "the formula has no value here"
CONSTANT_NUMBERS = "all features have the same number"


@dataclass(frozen=True)
class ScoredModel:
    """One model with its attributions, and the rows that they explain."""

    model: FittedModel
    attributions: pd.DataFrame  # of one model: method, copy, repeat, image_id, base, x:<feature>
    rows: TableRows
    predictions: pd.DataFrame


@dataclass(frozen=True)
class ScoreRules:
    """Which metrics are computed, with which imputers."""

    metrics: Mapping[str, PluginUse]
    imputers: Sequence[TableImputer]
    exact: str  # the label of the exact method; "": none
    additive: Sequence[str]  # labels of methods whose numbers add up
    seed: int

    def uses(self, between: str) -> Iterator[tuple[str, PluginUse, Mapping[str, Any]]]:
        """Yield label, use and declaration of the metrics of one kind."""
        for label, use in self.metrics.items():
            declared = registry.entry(METRICS, use.use).declared
            if declared.get("between", "") == between:
                yield label, use, declared


def score_models(models: Mapping[int, ScoredModel], rules: ScoreRules, arch: str) -> Iterator[pd.DataFrame]:
    """Yield the score rows of all models of an architecture, and of the agreement between them; `models`: seed -> model."""
    for seed, model in models.items():
        yield from score_model(model, rules, {"arch": arch, "seed": seed})
    yield from score_seeds(models, rules, arch)


def score_model(on: ScoredModel, rules: ScoreRules, cell: Mapping[str, Any]) -> Iterator[pd.DataFrame]:
    """Yield score rows of one model, one method and copy after the other. `cell`: arch and seed."""
    by_image = index_by_image(on.predictions)
    exact = on.attributions[(on.attributions["method"] == rules.exact) & (on.attributions["repeat"] == 0)]
    exact = exact.set_index("image_id")
    first = on.attributions[on.attributions["repeat"] == 0]
    again = on.attributions[on.attributions["repeat"] == 1]
    for (method, copy), own in first.groupby(["method", "copy"], sort=False):
        ids = list(own["image_id"])
        values = own.filter(regex=f"^{FEATURE}").to_numpy(np.float64)
        judged = _judged(on, rules, ids, values, exact)
        columns = {**cell, "method": method, "copy": copy, "layer": "", "target": "predicted"}
        for label, variant, found in _scores(judged, rules, str(method)):
            yield score_table(_result(found, values), ids, by_image, {**columns, "metric": label, "variant": variant})
        second = again[again["method"] == method].set_index("image_id")
        if len(second) and not str(method).startswith(SHUFFLED):
            other = second.loc[ids].filter(regex=f"^{FEATURE}").to_numpy(np.float64)
            for label, use, _ in rules.uses("runs"):
                found = registry.load(METRICS, use.use).score(judged, other, **use.options)
                yield score_table(_result(found, values), ids, by_image, {**columns, "metric": label, "variant": ""})


def _judged(on: ScoredModel, rules: ScoreRules, ids: list[str], values: Matrix, exact: pd.DataFrame) -> JudgedRows:
    rows = on.rows.table.loc[ids]
    truth = rows.filter(regex=f"^{TRUTH}").to_numpy(np.float64)
    own = exact.loc[ids].filter(regex=f"^{FEATURE}").to_numpy(np.float64) if len(exact) else None
    return JudgedRows(
        attribution=values,
        rows=rows.filter(regex=f"^{FEATURE}").to_numpy(np.float64),
        answers=on.model.answers,
        mean_answer=float(on.attributions["base"].iloc[0]),
        imputer=FeatureImputer("mean", on.rows.matrix("train"), on.model.encoding.categories),
        draw=partial(_draw, rules.seed, ids),
        truth=truth if truth.shape[1] else None,
        exact=own,
    )


def _draw(seed: int, ids: Sequence[str], row: int) -> np.random.Generator:
    """Return a generator that is the same for every method, so that methods are compared on the same draws."""
    return rng.generator(seed, "table-metric", ids[row])


def _scores(judged: JudgedRows, rules: ScoreRules, method: str) -> Iterator[tuple[str, str, Matrix]]:
    """Yield metric, variant and values, for the metrics that apply to a method."""
    for label, use, declared in rules.uses(""):
        needs = declared.get("needs", ())
        if ("truth" in needs and judged.truth is None) or ("exact" in needs and judged.exact is None):
            continue
        if declared.get("additive", False) and method not in rules.additive:
            continue
        score: Callable[..., Matrix] = registry.load(METRICS, use.use).score
        if not declared.get("imputed", False):
            yield label, "", score(judged, **use.options)
            continue
        for kind in rules.imputers:
            imputer = replace(judged.imputer, kind=kind)
            yield label, kind, score(replace(judged, imputer=imputer), **use.options)


def score_seeds(models: Mapping[int, ScoredModel], rules: ScoreRules, arch: str) -> Iterator[pd.DataFrame]:
    """Yield the agreement between the seeds of an architecture, and its chance level; `models`: seed -> model."""
    for first, second in combinations(sorted(models), 2):
        one, two = (models[seed].attributions for seed in (first, second))
        by_image = index_by_image(models[first].predictions)
        cell = {"arch": arch, "seed": first, "arch2": arch, "seed2": second, "layer": "", "target": "true"}
        for (method, copy), own in one[one["repeat"] == 0].groupby(["method", "copy"], sort=False):
            other = two[(two["repeat"] == 0) & (two["method"] == method) & (two["copy"] == copy)].set_index("image_id")
            ids = [name for name in own["image_id"] if name in other.index]
            if not ids:
                continue
            values, theirs = (
                table.loc[ids].filter(regex=f"^{FEATURE}").to_numpy(np.float64)
                for table in (own.set_index("image_id"), other)
            )
            judged = JudgedRows(
                values, values, models[first].model.answers, 0.0,
                FeatureImputer("mean", models[first].rows.matrix("train"), models[first].model.encoding.categories), partial(_draw, rules.seed, ids),
            )  # fmt: skip
            partners = _partners(by_image.loc[ids], rules.seed)
            for label, use, _ in rules.uses("models"):
                score: Callable[..., Matrix] = registry.load(METRICS, use.use).score
                columns = {**cell, "method": method, "copy": copy, "metric": label}
                found = score(judged, theirs, **use.options)
                yield score_table(_result(found, values), ids, by_image, {**columns, "variant": SEED_PAIRS})
                chance = np.where(partners >= 0, score(judged, theirs[partners], **use.options), np.nan)
                yield score_table(_result(chance, values), ids, by_image, {**columns, "variant": BETWEEN_IMAGES})


def _partners(rows: pd.DataFrame, seed: int) -> Any:  # (n,)
    """Return for each row another row of its class and of another group; -1 if there is none."""
    found = np.full(len(rows), -1)
    label, group = rows["label"].to_numpy(), rows["group"].to_numpy()
    for place, name in enumerate(rows.index):
        possible = np.flatnonzero((label == label[place]) & (group != group[place]))
        if len(possible):
            found[place] = rng.generator(seed, "partner", name).choice(possible)
    return found


def _result(found: Matrix, values: Matrix) -> Result:
    """Return the values with their status: degenerate where all numbers of a row are equal, undefined where the formula has no value."""
    spread, most = np.ptp(values, axis=1), np.abs(values).max(axis=1)
    constant = spread <= CONSTANT_RANGE * most
    status = np.where(constant, "degenerate", np.where(np.isfinite(found), "ok", "undefined"))
    reason = np.where(constant, CONSTANT_NUMBERS, np.where(np.isfinite(found), "", NO_VALUE))
    return Result(np.where(status == "ok", found, np.nan), status.astype(np.str_), reason.astype(np.str_))
