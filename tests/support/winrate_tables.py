"""Win rates worked by hand: the scores of four images and three methods, and what is asked of them."""

import numpy as np
import pandas as pd

BETTER = {"overlap": "higher", "drop": "lower", "share": "neither"}


TABLE = np.array([[0.5, 0.3, 0.1], [0.4, 0.4, 0.1], [0.0, 0.0, 0.0], [0.1, 0.2, 0.2]])  # images by methods


WINS = {"A": (1 + 1 / 2 + 1 / 3) / 4, "B": (1 / 2 + 1 / 3 + 1 / 2) / 4, "C": (1 / 3 + 1 / 2) / 4}


def scores(table: np.ndarray = TABLE, methods: str = "ABC", metric: str = "overlap", **columns: object) -> pd.DataFrame:
    """Score rows of a table of images by methods."""
    rows = [
        (f"i{image}", f"g{image}", method, table[image, place])
        for image in range(len(table))
        for place, method in enumerate(methods)
    ]
    frame = pd.DataFrame(rows, columns=["image_id", "group", "method", "value"])
    number = frame["image_id"].str[1:].astype(int)
    known = {"arch": "net", "arch2": "", "seed": 0, "seed2": pd.NA, "copy": 0, "layer": "top", "target": "true"}
    own = {
        "metric": metric,
        "variant": "",
        "reason": "",
        "label": np.where(number < 2, "crack", "hole"),
        "correct": True,
    }
    frame = frame.assign(**known | own | columns)
    return frame.assign(status=np.where(frame["value"].isna(), "undefined", "ok"))


def rate(
    found: pd.DataFrame, measure: str = "win_rate", column: str = "value", stratum: str = "all"
) -> dict[str, float]:
    own = found[(found["measure"] == measure) & (found["stratum"] == stratum)]
    assert not own["method"].duplicated().any()
    return dict(zip(own["method"], own[column], strict=True))
