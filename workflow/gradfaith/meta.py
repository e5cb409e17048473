"""A meta-evaluation job: which of the study's metrics rank methods as the evidence does, and which are fooled by controls.

What is told of images (stats/meta.py, stats/fooled.py), beside what each metric declares: that it reads the order of a map's values
and nothing else, so that any increasing change of the map leaves it as it is.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from gradfaith.stats.contrasts import comparable
from gradfaith.stats.fooled import fooled
from gradfaith.stats.intervals import Rule
from gradfaith.stats.meta import meta


def evaluation(scores: pd.DataFrame, asked: Mapping[str, Any]) -> pd.DataFrame:
    """Both views of every metric, and how the controls score. `asked`: this rule's slice of the study."""
    own = comparable(scores[(scores["part"] == "test") & scores["metric"].isin(asked["better"])])
    rule = Rule(level=asked["level"], min_groups=asked["min_groups"])
    better, controls = asked["better"], asked["controls"]
    ranked = meta(own, asked["truth"], better, controls, asked["against"], rule).assign(fooled=False)
    table = pd.concat([ranked, fooled(own, better, controls, rule).assign(truth="", n_wrong=0)], ignore_index=True)
    return table.assign(order_only=table["metric"].isin(asked["order_only"]))
