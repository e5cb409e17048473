"""A meta-evaluation job: which of the study's metrics rank methods as the evidence does, and which are fooled by controls.

What is told of images (stats/rank_agreement.py, stats/meta_evaluation.py), beside what each metric declares: that it reads the order of a map's values
and nothing else, so that any increasing change of the map leaves it as it is.

Which metrics are fooled: how maps that know nothing of the model score beside the methods.              [domeniconi2026]

    over the median   mean over images of (control - median method)      the median of the methods that have a value there
    over the best     mean over images of (control - best method)        best: in the mean over images, by architecture
    beats             the share of images on which the control is above the median method, or the best; ties count half

A metric is fooled by a control that is over the median method, and badly fooled by one over the best, when the interval says so;
the best is chosen from the same images, so that verdict is a cautious one. Intervals are at their own level, one by
one: of forty controls that are as good as the median method, one will seem over it. Higher is better throughout. All shuffled
maps are one control, "shuffled": their median beside the median method, the best method's own beside the best. Images need no
evidence here. A gain has the metric's own unit, and one of rounding is none; a share compares metrics. n_undefined: images of a model on
which one of the two has no value.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.stats.contrasts import comparable
from gradfaith.stats.estimates import ByImage, Name, side_by_side
from gradfaith.stats.intervals import EMPTY, HOUSE, Floats, Rule
from gradfaith.stats.rank_agreement import means, meta, over_architectures
from gradfaith.stats.winrates import TIE
from gradfaith.vocabulary import SHUFFLED


def evaluation(scores: pd.DataFrame, asked: Mapping[str, Any]) -> pd.DataFrame:
    """Both views of every metric, and how the controls score. `asked`: this rule's slice of the study."""
    own = comparable(scores[(scores["part"] == "test") & scores["metric"].isin(asked["better"])])
    rule = Rule(level=asked["level"], min_groups=asked["min_groups"])
    better, controls = asked["better"], asked["controls"]
    ranked = meta(own, asked["truth"], better, controls, asked["against"], rule).assign(fooled=False)
    table = pd.concat([ranked, fooled(own, better, controls, rule).assign(truth="", n_wrong=0)], ignore_index=True)
    return table.assign(order_only=table["metric"].isin(asked["order_only"]))


KEYS = ("view", "arch", "metric", "variant", "who", "measure")
MEASURES = ("over the median", "over the best", "beats the median", "beats the best")
ALL_SHUFFLED = SHUFFLED.removesuffix("-")
NOWHERE = -1
Flags = NDArray[np.bool_]
Places = NDArray[np.int64]


def fooled(
    scores: pd.DataFrame, better: Mapping[str, str], controls: Sequence[str], rule: Rule = HOUSE
) -> pd.DataFrame:
    """One row per architecture ("": all), metric, variant, control and measure."""
    table = side_by_side(scores, better)
    frames = [frame for name in table.values for frame in _of_metric(table, name, controls)]
    every = pd.concat(frames, ignore_index=True).assign(view="controls")
    found = means(pd.concat([every, over_architectures(every, KEYS)], ignore_index=True), KEYS, EMPTY, rule)
    over = found["measure"].isin(MEASURES[:2])
    return found.assign(fooled=over & (found["low"] > 0))


def _of_metric(table: ByImage, name: Name, controls: Sequence[str]) -> Iterator[pd.DataFrame]:
    values, asked, ignorant = table.values[name], table.asked[name], table.ignorant(controls)
    knowing = values[:, ~ignorant]
    if not np.isfinite(knowing).any():
        return
    best = _best(values, ~ignorant, table.about["arch"].to_numpy())
    for control, columns in _columns(table, controls).items():
        there = asked[:, columns].any(axis=1)
        level = _median(values[:, columns])
        pairs = {"median": (level, _median(knowing)), "best": (level, _at(values, best))}
        if control == ALL_SHUFFLED:
            pairs["best"] = _at(values, _shuffled(table.methods)[best]), pairs["best"][1]
        for against, (own, rival) in pairs.items():
            gain = own - rival
            gain[np.abs(gain) <= TIE] = 0
            for measure, numbers in ((f"over the {against}", gain), (f"beats the {against}", (1 + np.sign(gain)) / 2)):
                frame = table.about.assign(value=numbers, n_methods=np.isfinite(knowing).sum(axis=1))[there]
                yield frame.assign(metric=name[0], variant=name[1], who=control, measure=measure)


def _columns(table: ByImage, controls: Sequence[str]) -> dict[str, list[int]]:
    """Each control's own columns, in the study's order; shuffled maps are one control, the last."""
    found: dict[str, list[int]] = {name: [] for name in (*controls, ALL_SHUFFLED)}
    for place, method in enumerate(table.methods):
        name = ALL_SHUFFLED if method.startswith(SHUFFLED) else method
        if name in found:
            found[name].append(place)
    return {name: places for name, places in found.items() if places}


def _best(values: Floats, knowing: Flags, archs: Floats) -> Places:  # (units, methods), (methods), (units) -> (units)
    """The column of each architecture's best method; -1: none has a number there."""
    best = np.full(len(values), NOWHERE)
    for arch in dict.fromkeys(archs):
        rows = archs == arch
        levels = np.where(knowing, _mean(values[rows].T), np.nan)
        if np.isfinite(levels).any():
            best[rows] = int(np.nanargmax(levels))
    return best


def _shuffled(methods: Sequence[str]) -> Places:  # (methods + 1): the column of each one's shuffled map
    """With a last place for NOWHERE. Where a method stands at several layers, so does its shuffled map, in the same order."""
    there: dict[str, list[int]] = {}
    for place, name in enumerate(methods):
        there.setdefault(name, []).append(place)
    waiting = {name: iter(places) for name, places in there.items()}
    return np.array([*(next(waiting.get(SHUFFLED + name, iter(())), NOWHERE) for name in methods), NOWHERE])


def _at(values: Floats, places: Places) -> Floats:  # (units, methods), (units) -> (units)
    return np.where(places == NOWHERE, np.nan, values[np.arange(len(values)), places])


def _median(values: Floats) -> Floats:  # (units, methods) -> (units)
    found = np.full(len(values), np.nan)
    some = np.isfinite(values).any(axis=1)
    found[some] = np.nanmedian(values[some], axis=1)
    return found


def _mean(values: Floats) -> Floats:  # (rows, columns) -> (rows)
    """Of what there is; NaN where there is nothing."""
    count = np.isfinite(values).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(values, axis=1) / count)
