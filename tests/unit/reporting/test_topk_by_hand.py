"""From maps to the printed table, worked by hand: Top-K overlaps, who wins each image, and how many first places are shared."""

import numpy as np
import pandas as pd
import pytest
from test_maps_table import pipes
from test_ranks_table import ABOUT
from typed import described
from winrate_tables import score_rows, values_by_method

from gradfaith.metrics.localization import topk_overlap
from gradfaith.metrics.maps.located import Located
from gradfaith.reporting.tables import contract, ranks
from gradfaith.stats.winrates import estimate_winrates

METHODS = ["gradcam", "saliency", "integrated_gradients"]
EVIDENCE = np.array([[1, 1, 0], [0, 0, 0]], dtype=bool)  # pixels 0 and 1, so K = 2
# Each image's maps, pixels 0 to 5.
MAPS = {
    "i0": ([9, 8, 1, 2, 3, 4], [9, 1, 2, 8, 3, 4], [1, 2, 3, 4, 8, 9]),  # both pixels; one; none
    "i1": ([9, 1, 8, 2, 3, 4], [1, 9, 8, 2, 3, 4], [1, 2, 3, 4, 8, 9]),  # one; the other; none
    "i2": ([0, 0, 0, 0, 1, 2], [0, 0, 1, 2, 0, 0], [0, 0, 0, 9, 0, 8]),  # nobody hits anything
    "i3": (
        [9, 1, 8, 2, 3, 4],
        [9, 5, 5, 5, 5, 1],
        [7, 7, 7, 7, 1, 1],
    ),  # one; one and a quarter; two of four for two places
}
OVERLAP = {"i0": (1, 1 / 2, 0), "i1": (1 / 2, 1 / 2, 0), "i2": (0, 0, 0), "i3": (1 / 2, 5 / 8, 1 / 2)}
# i0: gradcam. i1: gradcam and saliency share. i2: all three share. i3: saliency.
EXPECTED_WIN_RATES = {
    "gradcam": (1 + 1 / 2 + 1 / 3) / 4,
    "saliency": (1 / 2 + 1 / 3 + 1) / 4,
    "integrated_gradients": (1 / 3) / 4,
}
TIES = {"gradcam": 2, "saliency": 2, "integrated_gradients": 1}
PRINTED = {
    "gradcam": ("0.458", "2 of 4 (0)"),
    "saliency": ("0.458", "2 of 4 (0)"),
    "integrated_gradients": ("0.083", "1 of 4 (0)"),
}


@pytest.fixture(scope="module")
def overlaps() -> np.ndarray:
    """Images by methods, by the metric itself."""
    rows = []
    for maps in MAPS.values():
        unit = np.array(maps, dtype=float).reshape(3, 2, 3) / 9
        rows.append(topk_overlap.score(Located.from_maps(unit, np.repeat(EVIDENCE[None], 3, axis=0))).value)
    return np.array(rows)


@pytest.fixture(scope="module")
def found(overlaps: np.ndarray) -> pd.DataFrame:
    return estimate_winrates([score_rows(overlaps, METHODS)], [], {"overlap": "higher"})


def test_the_overlaps_are_those_counted_on_paper(overlaps: np.ndarray) -> None:
    np.testing.assert_allclose(overlaps, list(OVERLAP.values()))


def test_wins_are_shared_and_shared_places_are_counted(found: pd.DataFrame) -> None:
    assert values_by_method(found) == pytest.approx(EXPECTED_WIN_RATES)
    assert sum(values_by_method(found).values()) == pytest.approx(1)
    assert values_by_method(found, column="n_ties") == TIES


def test_the_first_column_wins_every_tie_by_the_published_rule(overlaps: np.ndarray) -> None:
    first = np.argsort(-overlaps, axis=1, kind="stable")[:, 0]
    assert [METHODS[place] for place in first] == ["gradcam", "gradcam", "gradcam", "saliency"]


def test_the_printed_table_shows_rates_and_ties(found: pd.DataFrame) -> None:
    text = contract.markdown(ranks.tabulate({"ranks": found}, described(ABOUT | {"controls": []})))
    wins, ties = (
        {line["method"]: line["Overlap"] for line in pipes(text, title)}
        for title in ("net: win rate", "net: shared first places, of all contests (contests without a value)")
    )
    assert {name: (wins[name].split("<")[0], ties[name]) for name in METHODS} == PRINTED
