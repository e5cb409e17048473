"""Correlations along the last axis, where some numbers are missing and some are level.

    Pearson of the values;  Spearman = Pearson of the ranks, ties sharing the mean of theirs

Only places with both numbers count. Values nearer than winrates.TIE are level: methods that are one by algebra differ by
rounding. Fewer than three places, or one side level throughout, have no correlation: NaN. Leading axes are batched. Cost:
O(m^2) for the ranks of m values, which is what a tolerance costs.

Over cells: does the mean of a metric rise with the mean of the truth, method by method and model by model?

    r_s = r over cells c of (mean_i x_ic, mean_i t_ic)        c: a method on an architecture, with seed s; i: images with both numbers

The number is the mean of r_s over seeds. Its interval leaves each group of images out of all means at once (stats/intervals.py), and so holds
the methods, the architectures and their seeds' spread in view of new patients, not of new methods. Simulated coverage of 95 %, 8-24 cells
and 12-48 groups: Pearson 93-96 %; Spearman 86-100 %, as ranks move in steps. Where noise in the means is as large as what
methods differ by, r is drawn to 0, and covers as little as 76 %.

Meta-evaluation: does a metric put methods in the order that the evidence puts them in?                  [domeniconi2026]

    truth     a localization metric, which compares a map with the evidence it should show
    image     r over methods of (metric, truth) on one image of one model; then the mean over images
    cells     r over cells (method x model) of (mean of the metric, mean of the truth), in stats/rank_agreement.py

The paper draws the second; the first is free of what makes images and models differ. Both by Spearman and by Pearson, over the
methods that look into the model, over the controls, and over both together: that a metric parts methods from controls says
little of whether it can rank methods. Only images that the model gets right take part, as only there evidence is what the model
should have seen, and metric and truth read the same map; n_wrong counts the others. n_undefined: images of a model where
fewer than three methods have both numbers, or where one of the two is the same for all; over cells, the cells that no image gives
both numbers. A metric of which lower is better is negated. With `against`, also each metric's r minus that metric's, image by
image. A correlation is not a proof: the truth says where the evidence is, not that the model used all of it.

Intervals are those of every estimate: over groups, or groups and seeds, with the methods and architectures as they are. `arch` "" is
the mean over architectures, of images that all of them have (image), or all of their cells (cells). Cost: a third of a second per
metric, variant and truth for six models, 20 methods and 100 images.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradfaith.stats.estimates import FOUND, ByImage, Codes, Name, codes, intervals, side_by_side
from gradfaith.stats.intervals import HOUSE, Floats, Interval, Rule, from_jackknife, nothing
from gradfaith.stats.winrates import TIE

FEWEST = 3


def spearman(x: Floats, t: Floats) -> Floats:  # (..., m), (..., m) -> (...)
    x, t = _both(x, t)
    return pearson(ranks(x), ranks(t))


def pearson(x: Floats, t: Floats) -> Floats:  # (..., m), (..., m) -> (...)
    x, t = _both(x, t)
    count = np.isfinite(x).sum(axis=-1)
    level = _level(x) | _level(t) | (count < FEWEST)
    with np.errstate(invalid="ignore", divide="ignore"):
        x, t = (values - np.nansum(values, axis=-1, keepdims=True) / count[..., None] for values in (x, t))
        found = np.nansum(x * t, axis=-1) / np.sqrt(np.nansum(x**2, axis=-1) * np.nansum(t**2, axis=-1))
    return np.asarray(np.where(level, np.nan, np.clip(found, -1, 1)))


COEFFICIENTS: Mapping[str, Callable[[Floats, Floats], Floats]] = {"spearman": spearman, "pearson": pearson}


def ranks(values: Floats) -> Floats:  # (..., m) -> (..., m)
    """1 for the lowest; those that are level share the mean of their places; NaN stays NaN."""
    with np.errstate(invalid="ignore"):
        ahead = values[..., :, None] - values[..., None, :]
        below, same = (ahead > TIE).sum(axis=-1), (np.abs(ahead) <= TIE).sum(axis=-1)
    return np.where(np.isfinite(values), below + (same + 1) / 2, np.nan)


def _both(x: Floats, t: Floats) -> tuple[Floats, Floats]:
    there = np.isfinite(x) & np.isfinite(t)
    return np.where(there, x, np.nan), np.where(there, t, np.nan)


def _level(values: Floats) -> NDArray[np.bool_]:  # (..., m) -> (...)
    low = np.where(np.isnan(values), np.inf, values).min(axis=-1, initial=np.inf)
    high = np.where(np.isnan(values), -np.inf, values).max(axis=-1, initial=-np.inf)
    return np.asarray(high - low <= TIE)


pass

Flags = NDArray[np.bool_]
FEW_CELLS = f"fewer than {FEWEST} cells have both means, or all are the same"


def cells(
    about: pd.DataFrame, x: Floats, t: Floats, asked: Flags, methods: NDArray[np.str_], rule: Rule
) -> Iterator[dict[str, object]]:
    """A row per coefficient. `about`: arch, seed, group and image of each row of x, t and asked (units, methods)."""
    there = np.isfinite(x) & np.isfinite(t)
    group = codes(about, ["group"])
    seeds = list(dict.fromkeys(about["seed"]))
    parts = []
    for seed in seeds:
        rows = (about["seed"] == seed).to_numpy(bool)
        arch = codes(about[rows], ["arch"])
        parts.append(_Sums.of(x[rows], t[rows], there[rows], group[rows], arch, int(group.max(initial=-1)) + 1))
    used = np.asarray(there.any(axis=1))
    model = codes(about, ["arch", "seed"])
    empty = [(asked[model == one].any(axis=0) & ~there[model == one].any(axis=0)).sum() for one in np.unique(model)]
    lost = {"n_methods": len(set(methods[there.any(axis=0)])), "n_undefined": int(sum(empty))}
    n_images = int(about["image_id"][used].nunique())
    for measure in COEFFICIENTS:
        found, told = _interval(parts, seeds, measure, n_images, rule)
        numbers = {name: getattr(found, "mean" if name == "value" else name, "") for name in FOUND if name != "p"}
        yield {"measure": measure, **numbers, "seeds": " ".join(map(str, told)), **lost}


@dataclass(frozen=True)
class _Sums:
    """Of the models of one seed: sums and counts by group and cell."""

    x: Floats  # (g, c)
    t: Floats  # (g, c)
    count: Floats  # (g, c)

    @classmethod
    def of(cls, x: Floats, t: Floats, there: Floats, group: Codes, arch: Codes, groups: int) -> "_Sums":
        """From the values of images of models (units, methods); a cell that nothing is known of is left out."""
        sums = np.zeros((3, groups, int(arch.max(initial=-1)) + 1, x.shape[1]))
        for place, values in enumerate((np.where(there, x, 0), np.where(there, t, 0), there)):
            np.add.at(sums[place], (group, arch), values)
        flat = sums.reshape(3, groups, -1)
        return cls(*flat[:, :, flat[2].any(axis=0)])

    def coefficient(self, measure: str) -> tuple[float, Floats]:
        """Of all groups, and without each of them (g); NaN where a cell would be left with nothing."""
        total = self.count.sum(axis=0)
        rest = total - self.count
        whole = COEFFICIENTS[measure](self.x.sum(axis=0) / total, self.t.sum(axis=0) / total)
        with np.errstate(invalid="ignore", divide="ignore"):
            x, t = ((of.sum(axis=0) - of) / rest for of in (self.x, self.t))
        left = COEFFICIENTS[measure](x, t)
        return float(whole), np.where((rest > 0).all(axis=1), left, np.nan)


def _interval(
    parts: Sequence[_Sums], seeds: Sequence[object], measure: str, n_images: int, rule: Rule
) -> tuple[Interval, list[object]]:
    found = [part.coefficient(measure) for part in parts]
    ok = [place for place, (whole, _) in enumerate(found) if np.isfinite(whole)]
    if not ok:
        return nothing(FEW_CELLS, n_images), []
    theta = np.array([found[place][0] for place in ok])
    left = np.stack([found[place][1] for place in ok], axis=1)  # (g, r)
    pull = np.stack([parts[place].count.sum(axis=1) for place in ok], axis=1)
    shares = (pull / pull.sum(axis=0)).mean(axis=1)
    runs = [(seeds[place],) for place in ok]
    told = [seeds[place] for place in ok]
    return from_jackknife(theta, left - theta, shares, runs, present=pull > 0, n_images=n_images, rule=rule), told


KEYS = ("view", "truth", "arch", "metric", "variant", "who", "measure")
COUNTS = ("n_methods", "n_undefined", "n_wrong")
COLUMNS = (*KEYS, *(name for name in FOUND if name != "p"), *COUNTS)
FEW = f"on no image have {FEWEST} methods both numbers, and not all the same"
MINUS = " minus "


def meta(
    scores: pd.DataFrame,
    truths: Sequence[str],
    better: Mapping[str, str],
    controls: Sequence[str],
    against: str = "",
    rule: Rule = HOUSE,
) -> pd.DataFrame:
    """One row per view, truth, architecture ("": all), metric, variant, who is ranked, and coefficient."""
    whole = side_by_side(scores, better)
    tables = [part for truth in truths for part in _of_truth(whole, whole.primary(truth), controls, against, rule)]
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)]


def over_architectures(images: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The mean over architectures, image by image and seed by seed; of an image that one of them lacks there is none.

    Otherwise the architecture that has most images would be most of the mean, and another one for every metric.
    """
    other = [key for key in keys if key != "arch"]
    archs = images.groupby(other, sort=False, observed=True)["arch"].transform("nunique")
    cells = images.assign(archs=archs).groupby([*other, "seed", "image_id", "group"], sort=False, observed=True)
    found = cells.agg(
        value=("value", "mean"), there=("value", "count"), archs=("archs", "max"), n_methods=("n_methods", "max")
    ).reset_index()
    return found.assign(value=found["value"].where(found["there"] == found["archs"]), arch="")


def means(images: pd.DataFrame, keys: Sequence[str], reason: str, rule: Rule) -> pd.DataFrame:
    """Means over images with their intervals, and how many images had no value."""
    by = list(keys)
    lost = images.assign(n_undefined=images["value"].isna()).groupby(by, sort=False, observed=True)
    counts = lost.agg(n_undefined=("n_undefined", "sum"), n_methods=("n_methods", "max")).reset_index()
    table = counts.merge(intervals(images[images["value"].notna()], by, rule), on=by, how="left")
    whole = ["n_images", "n_groups", "n_seeds"]
    table[whole] = table[whole].fillna(0).astype(np.int64)
    return table.fillna({"seeds": "", "interval": "", "reason": reason})


def _of_truth(whole: ByImage, truth: Name, controls: Sequence[str], against: str, rule: Rule) -> Iterator[pd.DataFrame]:
    evident = np.isfinite(whole.values[truth]).any(axis=1)
    right = whole.about["correct"].fillna(False).to_numpy(bool)
    wrong = whole.about[evident & ~right].groupby("arch", observed=True).size().to_dict()
    wrong |= {"": sum(wrong.values())}  # of all architectures
    own = whole.rows(evident & right)
    for table in (_within(own, truth, controls, against, rule), _over_cells(own, truth, controls, rule)):
        yield table.assign(truth=truth[0], n_wrong=table["arch"].map(wrong).fillna(0).astype(np.int64))


def _fields(table: ByImage, controls: Sequence[str]) -> dict[str, Flags]:
    """Who is ranked -> their columns."""
    ignorant = table.ignorant(controls)
    return {"methods": ~ignorant, "controls": ignorant, "together": np.ones_like(ignorant)}


def _within(table: ByImage, truth: Name, controls: Sequence[str], against: str, rule: Rule) -> pd.DataFrame:
    frames = []
    for (who, columns), measure in product(_fields(table, controls).items(), COEFFICIENTS):
        judged = [name for name in table.values if name != truth]
        found = {name: _by_image(table, name, truth, columns, measure) for name in judged}
        other = found.get(table.primary(against)) if against else None
        for name, images in found.items():
            keys = {"view": "image", "metric": name[0], "variant": name[1], "who": who}
            frames.append(images.assign(measure=measure, **keys))
            if other is not None and name[0] != against:
                value = images["value"] - other["value"]  # by the image's place in the table
                frames.append(images.assign(value=value, measure=measure + MINUS + against, **keys))
    every = pd.concat(frames, ignore_index=True)
    by = [key for key in KEYS if key != "truth"]
    return means(pd.concat([every, over_architectures(every, by)], ignore_index=True), by, FEW, rule)


def _by_image(table: ByImage, name: Name, truth: Name, columns: Flags, measure: str) -> pd.DataFrame:
    """The coefficient on every image of a model on which the metric was asked for; NaN: it has none."""
    asked = table.asked[name][:, columns]
    value = COEFFICIENTS[measure](table.values[name][:, columns], table.values[truth][:, columns])
    return table.about.assign(value=value, n_methods=asked.sum(axis=1))[np.asarray(asked.any(axis=1))]


def _over_cells(table: ByImage, truth: Name, controls: Sequence[str], rule: Rule) -> pd.DataFrame:
    rows = []
    for arch, (who, columns) in product(["", *dict.fromkeys(table.about["arch"])], _fields(table, controls).items()):
        here = table if arch == "" else table.rows((table.about["arch"] == arch).to_numpy(bool))
        for name in here.values:
            if name != truth and here.asked[name][:, columns].any():
                keys = {"view": "cells", "arch": arch, "metric": name[0], "variant": name[1], "who": who}
                pair = here.values[name][:, columns], here.values[truth][:, columns]
                asked, names = here.asked[name][:, columns], np.array(here.methods)[columns]
                rows += [keys | row for row in cells(here.about, *pair, asked, names, rule)]
    return pd.DataFrame(rows)
