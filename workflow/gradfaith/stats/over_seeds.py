"""Report win rates as papers do: by class and part of the split, with mean and standard deviation over seeds. [pham2025]

    rate of a seed    the mean win (stats/winrates.py) over the images of one model
    mean, sd          of these rates over seeds; sd divides by the number of seeds, not by one less, as the paper's code does

The sd says how much the models differ. It is no sampling error of the images, because all seeds see the same ones. So every
row keeps the interval of any estimate, over groups or over groups and seeds. Cost: that of the win rates, once per part.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from gradfaith.stats.interval_scales import IntervalRule
from gradfaith.stats.winrates import WIN_RATE, estimate_winrates


def mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation, divided by the number of values; NaN if there is none."""
    known = np.asarray([value for value in values if np.isfinite(value)], dtype=np.float64)
    return (float(known.mean()), float(known.std())) if len(known) else (float("nan"), float("nan"))


def with_evidence(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the scores of images with evidence: those on which `metric` is not undefined for every map.

    A metric that gives an empty mask a value, such as 0, would count an image without a defect as a tie.
    """
    own = scores[scores["metric"] == metric]
    known = own.loc[own["status"] != "undefined", "image_id"].unique()
    return scores[scores["image_id"].isin(known)]


def winrates_by_part(
    scores: pd.DataFrame,
    controls: Sequence[str],
    better: Mapping[str, str],
    rule: IntervalRule,
    *,
    only_correct: bool,
) -> pd.DataFrame:
    """Return the win rates of all methods, without controls, on every part of the split and in every class.

    The rows are those of `estimate_winrates` with the columns part, mean and sd. Classes without a contest are left out.
    `scores`: one variant of each metric.
    """
    tables = []
    for part, rows in scores[~scores["method"].isin(controls)].groupby("part", sort=False, observed=True):
        rates = estimate_winrates(
            [rows.reset_index(drop=True)], controls, better, by=("label",), only_correct=only_correct, rule=rule
        )
        own = rates[(rates["measure"] == WIN_RATE) & ~rates["beside"].astype(bool) & (rates["n_contests"] > 0)]
        tables.append(own.assign(part=str(part)))
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["seed_values"])
    spreads = [mean_and_sd([float(value) for value in str(text).split()]) for text in table["seed_values"]]
    return table.assign(mean=[mean for mean, _ in spreads], sd=[sd for _, sd in spreads])
