"""A long table of many parts that share their images: built column by column, because a frame per part takes seconds."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd


def repeat_rows(images: pd.DataFrame, parts: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Return the rows of all parts: those of `images`, with a part's columns, each one value or one per image."""
    count = len(images)
    table = images.iloc[np.tile(np.arange(count), len(parts))].reset_index(drop=True)
    columns = dict[str, object]()
    for name, first in parts[0].items():
        values = [part[name] for part in parts]
        columns[name] = np.concatenate(values) if np.ndim(first) else pd.Series(values).repeat(count).to_numpy()
    return table.assign(**columns)
