"""The tables that a scoring job hands on some images at a time, as one."""

from collections.abc import Iterable

import pandas as pd

from gradfaith.scoring.faithfulness import FaithfulnessTables
from gradfaith.storage.parquet import CURVES, SCORES, empty


def joined(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([empty(SCORES), *tables], ignore_index=True)


def joined_faithfulness(tables: Iterable[FaithfulnessTables]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and curves."""
    parts = list(tables)
    curves = pd.concat([empty(CURVES), *(part.curves for part in parts)], ignore_index=True)
    return joined(part.scores for part in parts), curves
