"""Test images minus training images: the difference of two means, with the interval of two independent samples of patients."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from small_study import ABOUT
from typed import described

from gradfaith import rng
from gradfaith.reporting.tables import contract as sheet_tables
from gradfaith.reporting.tables import pairs
from gradfaith.stats.comparisons import Comparisons
from gradfaith.stats.contrasts import estimate_contrasts
from gradfaith.stats.interval_scales import IntervalRule

METHODS, SEEDS = ("cam", "other", "centre"), (0, 1)


def scores(part: str, patients: int, level: float, variant: str = "black") -> pd.DataFrame:
    """Draw scores of two images per patient; a test image of one method has none."""
    noise, rows = rng.generator("parts", part, level), []
    for patient in range(patients):
        own = noise.normal(level, 0.3)
        for image in range(1 + patient % 3):
            for seed in SEEDS:
                for method in METHODS:
                    value = own + noise.normal(0, 0.1) + 0.05 * seed
                    name = f"{part}-{patient}"
                    rows.append((f"{name}-{image}", name, seed, method, value))
    table = pd.DataFrame(rows, columns=["image_id", "group", "seed", "method", "value"])
    fixed = {
        "arch": "net",
        "arch2": "",
        "metric": "faith",
        "variant": variant,
        "target": "predicted",
        "layer": "",
        "copy": 0,
    }
    return table.assign(**fixed, seed2=pd.NA, status="ok", reason="", label="a", part=part)


def contrasts(test: pd.DataFrame, train: pd.DataFrame | None) -> pd.DataFrame:
    asked = Comparisons(METHODS, ["centre"], {"faith": "higher"})
    seen = [] if train is None else [train]
    return estimate_contrasts([test], asked, rule=IntervalRule(), training=seen)


@pytest.fixture(scope="module")
def both() -> tuple[pd.DataFrame, pd.DataFrame]:
    test, train = scores("test", 14, 0.4), scores("train", 30, 0.6)
    missing = (test["method"] == "cam") & (test["image_id"] == "test-3-0")
    return test.assign(status=np.where(missing, "degenerate", "ok")), train


def test_the_contrast_is_recomputed_by_plain_loops(both: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    found = contrasts(*both).query("comparison == 'part' and method == 'cam'").iloc[0]
    by_seed, influence = [], {}
    for seed in SEEDS:
        means, counts = {}, {}
        for side in both:
            values = [
                row.value for row in side.itertuples() if (row.method, row.seed, row.status) == ("cam", seed, "ok")
            ]
            part = side["part"].iloc[0]
            means[part], counts[part] = sum(values) / len(values), len(values)
        by_seed.append(means["test"] - means["train"])
        for side in both:
            for row in side.itertuples():
                if (row.method, row.seed, row.status) == ("cam", seed, "ok"):
                    sign = 1 if row.part == "test" else -1
                    own = sign * (row.value - means[row.part]) / counts[row.part]
                    influence[row.group] = influence.get(row.group, 0.0) + own / len(SEEDS)
    assert found["value"] == pytest.approx(sum(by_seed) / 2)
    groups = len(influence)
    linear = np.sqrt(groups / (groups - 1) * sum(own**2 for own in influence.values()))
    assert found["se"] == pytest.approx(linear, rel=0.05), "leaving a group out changes the weights a little, too"
    half = stats.t.ppf(0.975, found["df"]) * found["se"]
    assert (found["low"], found["high"]) == pytest.approx((found["value"] - half, found["value"] + half))
    assert (found["n_lost"], found["n_groups"]) == (2, 43)
    assert np.isnan(found["share_better"])


def test_the_interval_is_close_to_that_of_two_independent_samples() -> None:
    """One image per patient: Welch's interval."""
    test, train = scores("test", 40, 0.4), scores("train", 60, 0.6)
    single = [side[side["image_id"].str.endswith("-0") & (side["seed"] == 0)] for side in (test, train)]
    found = contrasts(*single).query("comparison == 'part' and method == 'cam'").iloc[0]
    values = [side.loc[side["method"] == "cam", "value"] for side in single]
    welch = stats.ttest_ind(*values, equal_var=False).confidence_interval()
    assert (found["low"], found["high"]) == pytest.approx((welch.low, welch.high), abs=0.01)


def test_methods_form_a_family_and_controls_take_no_part(both: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    found = contrasts(*both).query("comparison == 'part'")
    assert found["method"].tolist() == ["cam", "other"]
    assert set(found["against"]) == {"train"}
    wider = (found["high_family"] - found["low_family"]) / (found["high"] - found["low"])
    assert (wider > 1).all()
    alone = contrasts(both[0], None)
    rest = contrasts(*both).query("comparison != 'part'").reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, rest)


def test_too_few_patients_in_one_part_are_not_compared(both: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    assert "part" not in set(contrasts(both[0], scores("train", 7, 0.6))["comparison"])
    assert "part" not in set(contrasts(both[0], scores("train", 30, 0.6, variant="blur"))["comparison"])


def test_the_table_says_that_they_are_not_paired(both: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    text = sheet_tables.markdown(pairs.tabulate({"contrasts": contrasts(*both)}, described(ABOUT)))
    assert "## Test images minus training images; these are not paired" in text
    assert "cam on net: test minus train" in text
