"""Scores of four images and three methods whose win rates were worked out by hand, as score rows of a study."""

import numpy as np
import pandas as pd

BETTER = {"overlap": "higher", "drop": "lower", "share": "neither"}

TABLE = np.array([[0.5, 0.3, 0.1], [0.4, 0.4, 0.1], [0.0, 0.0, 0.0], [0.1, 0.2, 0.2]])  # (images, methods)

EXPECTED_WIN_RATES = {"A": (1 + 1 / 2 + 1 / 3) / 4, "B": (1 / 2 + 1 / 3 + 1 / 2) / 4, "C": (1 / 3 + 1 / 2) / 4}


def score_rows(
    table: np.ndarray = TABLE, methods: str = "ABC", metric: str = "overlap", **columns: object
) -> pd.DataFrame:
    """Return the score rows of a table (images, methods); `columns` replace or add columns."""
    rows = [
        (f"i{image}", f"g{image}", method, table[image, place])
        for image in range(len(table))
        for place, method in enumerate(methods)
    ]
    frame = pd.DataFrame(rows, columns=["image_id", "group", "method", "value"])
    number = frame["image_id"].str[1:].astype(int)
    model = {"arch": "net", "arch2": "", "seed": 0, "seed2": pd.NA, "copy": 0, "layer": "top", "target": "true"}
    score = {
        "metric": metric,
        "variant": "",
        "reason": "",
        "label": np.where(number < 2, "crack", "hole"),
        "correct": True,
    }
    frame = frame.assign(**model | score | columns)
    return frame.assign(status=np.where(frame["value"].isna(), "undefined", "ok"))


def values_by_method(
    found: pd.DataFrame, measure: str = "win_rate", column: str = "value", stratum: str = "all"
) -> dict[str, float]:
    """Return a column of a win-rate table by method, for one measure and stratum."""
    rows = found[(found["measure"] == measure) & (found["stratum"] == stratum)]
    assert not rows["method"].duplicated().any()
    return dict(zip(rows["method"], rows[column], strict=True))
