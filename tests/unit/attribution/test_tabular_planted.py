"""Two changes that are known to hurt, over 20 tables whose truth is planted: docs/tabular_planted.py finds both, and no control moves."""

import sys
from collections.abc import Iterator
from types import ModuleType

import pandas as pd
import pytest
from small_images import ROOT

from gradfaith.vocabulary import SHUFFLED

METHODS = ("exact_shapley", "kernel_shap", "shapley_sampling", "lime")


@pytest.fixture(scope="module")
def page() -> Iterator[ModuleType]:
    """docs/tabular_planted.py, imported from where it lies."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import tabular_planted

        yield tabular_planted
    finally:
        sys.path.remove(str(ROOT / "docs"))


@pytest.fixture(scope="module")
def numbers(page: ModuleType) -> pd.DataFrame:
    """20 repetitions of the linear model; the page has boosted trees, too."""
    found: pd.DataFrame = page.measure(range(page.REPETITIONS), models=("linear",))
    return found


@pytest.mark.slow  # two minutes
def test_a_correlated_copy_takes_a_share_and_a_control_does_not_move(page: ModuleType, numbers: pd.DataFrame) -> None:
    moved = page.difference(numbers, "correlation", page.TOGETHER, page.APART).set_index(["method", "metric"])
    for method in METHODS:
        assert moved.loc[(method, page.COPY_SHARE), "low"] > 0, method
        assert moved.loc[(method, "truth_auc"), "high"] < 0, method
        shuffled = moved.loc[(SHUFFLED + method, "truth_auc")]
        assert shuffled["low"] <= 0 <= shuffled["high"], method
    assert moved.loc[("random", "truth_auc"), "value"] == 0, "it reads neither table nor model"
    assert abs(moved.loc[("feature_variance", page.COPY_SHARE), "value"]) < 0.005


@pytest.mark.slow
def test_a_narrow_kernel_of_lime_moves_every_metric_to_chance(page: ModuleType, numbers: pd.DataFrame) -> None:
    own = numbers[numbers["correlation"] == page.APART]
    moved = page.difference(own, "method", page.NARROW, page.WIDE).set_index("metric")
    assert (moved.loc[list(page.METRICS), "high"] < -0.05).all()


@pytest.mark.slow
@pytest.mark.parametrize("control", ["random", "deviation", "feature_variance", SHUFFLED])
def test_every_method_follows_the_planted_truth_better_than_every_control(
    page: ModuleType, numbers: pd.DataFrame, control: str
) -> None:
    own = numbers[(numbers["correlation"] == page.APART) & numbers["metric"].isin(["truth_auc", "truth_correlation"])]
    for method in METHODS:
        against = SHUFFLED + method if control == SHUFFLED else control
        assert (page.difference(own, "method", method, against)["low"] > 0).all(), method
