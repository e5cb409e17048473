"""Win rates by part and seed: the paper's own Tables 2 and 4 and Figure 6 come out of our functions."""

import numpy as np
import pandas as pd
import pytest
from winrate_tables import score_rows

from gradfaith.metrics.localization import tko_literature, topk_overlap
from gradfaith.metrics.maps.located import Located
from gradfaith.stats.interval_scales import DEFAULT_RULE
from gradfaith.stats.over_seeds import mean_and_sd, winrates_by_part

METHODS = ["gradcam", "saliency", "integrated_gradients"]
GC, SM, IG = METHODS
# Table 4 of the paper. Four test images per class and seed, so the wins of each seed follow from mean and deviation:
# class -> (seed, correctly classified images, wins of SM, wins of IG) where not all four are won by GC.
SEEDS = range(42, 52)
WINS = {
    "crack": [(42, 3, 1, 0), (43, 4, 0, 1), (44, 4, 0, 1)],
    "cut": [(42, 4, 0, 2), *((seed, 4, 0, 1) for seed in range(43, 48))],
    "hole": [(42, 4, 2, 0), (43, 4, 0, 1)],
    "print": [(42, 4, 0, 1), (43, 4, 0, 1)],
}
TABLE_4 = {
    "crack": {GC: (0.9167, 0.1291), SM: (0.0333, 0.1000), IG: (0.0500, 0.1000)},
    "cut": {GC: (0.8250, 0.1601), SM: (0.0000, 0.0000), IG: (0.1750, 0.1601)},
    "hole": {GC: (0.9250, 0.1601), SM: (0.0500, 0.1500), IG: (0.0250, 0.0750)},
    "print": {GC: (0.9500, 0.1000), SM: (0.0000, 0.0000), IG: (0.0500, 0.1000)},
}
TEST_ACCURACY = [0.950, 0.9477, 1, 0.900, 0.9977, 0.950, 0.850, 1, 0.9017, 0.9454]  # balanced, of the seeds 42 to 51


def contests() -> pd.DataFrame:
    """Return overlaps of four images per class and seed, whose winners are those of the paper's Table 4."""
    frames = []
    for place, (name, special) in enumerate(WINS.items()):
        for seed in SEEDS:
            correct, of_sm, of_ig = next((rest for number, *rest in special if number == seed), (4, 0, 0))
            values = np.full((4, 3), 0.1)
            for image in range(4):
                winner = 1 if image < of_sm else 2 if image < of_sm + of_ig else 0
                values[image, winner] = 0.5
            rows = score_rows(values, METHODS, seed=seed, label=name, part="test")  # type: ignore[arg-type]
            number = rows["image_id"].str[1:].astype(int)
            ids = {key: key[0] + (number + 4 * place).astype(str) for key in ("image_id", "group")}
            frames.append(rows.assign(correct=number < correct, **ids))
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def rates() -> pd.DataFrame:
    return winrates_by_part(contests(), [], {"overlap": "higher"}, DEFAULT_RULE, only_correct=True)


@pytest.mark.parametrize("name", TABLE_4)
def test_table_4_of_the_paper_comes_out_of_its_contests(rates: pd.DataFrame, name: str) -> None:
    rows = rates[rates["stratum"] == name].set_index("method")
    for method, (mean, sd) in TABLE_4[name].items():
        assert (rows.loc[method, "mean"], rows.loc[method, "sd"]) == pytest.approx((mean, sd), abs=5e-5)
    assert rows["mean"].sum() == pytest.approx(1)
    assert list(rows["n_seeds"]) == [10, 10, 10]


def test_table_2_of_the_paper_divides_by_the_number_of_seeds() -> None:
    assert mean_and_sd(TEST_ACCURACY) == pytest.approx((0.9443, 0.0467), abs=1e-4)  # its seeds are known to 4 digits
    assert np.isnan(mean_and_sd([float("nan")])[0])


def test_figure_6_of_the_paper_is_an_iou_of_twice_as_many_pixels() -> None:
    """K = 1025: the paper prints 0.191, 0.036 and 0.083, ranks GC > IG > SM, and calls it the share of the K pixels."""
    side, k = 224, 1025
    mask = np.zeros(side * side, dtype=bool)
    mask[:k] = True
    hits = {GC: 329, SM: 71, IG: 157}
    maps = np.zeros((3, side * side))
    for row, count in enumerate(hits.values()):
        maps[row] = np.linspace(0.4, 0, side * side)
        maps[row, np.r_[:count, k : 2 * k - count]] = np.linspace(1, 0.5, k)
        maps[row, count:k] = 0.0
    located = Located.from_maps(maps.reshape(3, side, side), np.repeat(mask.reshape(1, side, side), 3, axis=0))
    as_printed, share = tko_literature.score(located).value, topk_overlap.score(located).value
    assert as_printed == pytest.approx([0.191, 0.036, 0.083], abs=5e-4)
    assert share == pytest.approx([0.321, 0.069, 0.153], abs=5e-4)
    assert [METHODS[place] for place in np.argsort(-share)] == [GC, IG, SM]


def test_parts_are_apart_ties_are_shared_and_controls_do_not_compete() -> None:
    table = np.array([[0.5, 0.5, 0.1, 0.9], [0.2, 0.1, 0.1, 0.9]])
    frames = [score_rows(table[::step], [*METHODS, "centre"], part=part) for part, step in (("train", 1), ("test", -1))]  # type: ignore[arg-type]
    found = winrates_by_part(
        pd.concat(frames, ignore_index=True), ["centre"], {"overlap": "higher"}, DEFAULT_RULE, only_correct=False
    )
    overall = found[found["stratum"] == "all"].set_index(["part", "method"])
    assert dict(overall["value"]) == {
        (part, method): value
        for part in ("train", "test")
        for method, value in zip(METHODS, (0.75, 0.25, 0), strict=True)
    }
    assert dict(overall["n_ties"].groupby("method").max()) == {GC: 1, SM: 1, IG: 0}
