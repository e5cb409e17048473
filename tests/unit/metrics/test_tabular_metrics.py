"""Metrics of attributions to features, on functions whose answer is known, and the imputers that remove features."""

import numpy as np
import pytest

from gradfaith import registry, rng
from gradfaith.metrics.tabular.contract import FeatureImputer, JudgedRows, correlate_rows, rank

TRAINING = rng.generator("tabular-metrics").normal(size=(300, 4))
ROWS = TRAINING[:20] + 1.5
WEIGHTS = np.array([3.0, -2.0, 0.5, 0.0])


def judged(attribution: np.ndarray, kind: str = "mean", **more: object) -> JudgedRows:
    imputer = FeatureImputer(kind, TRAINING, (0, 0, 0, 0))  # type: ignore[arg-type]
    return JudgedRows(
        attribution, ROWS, lambda rows: rows @ WEIGHTS, 0.0, imputer, lambda row: rng.generator("m", row), **more
    )  # type: ignore[arg-type]


def score(name: str, on: JudgedRows, *arguments: object) -> np.ndarray:
    options = {key: option.default for key, option in registry.entry("table_metrics", name).options.items()}
    found: np.ndarray = registry.load("table_metrics", name).score(on, *arguments, **options)
    return found


TERMS = (ROWS - TRAINING.mean(axis=0)) * WEIGHTS


@pytest.mark.parametrize("kind", ["mean", "marginal", "conditional"])
def test_right_numbers_have_a_high_gap_reversed_ones_a_low_one_and_noise_none(kind: str) -> None:
    right, wrong = (score("removal_gap", judged(values, kind)).mean() for values in (TERMS, 1 / (np.abs(TERMS) + 0.01)))
    noise = np.mean(
        [score("removal_gap", judged(rng.generator(k).normal(size=ROWS.shape), kind)).mean() for k in range(40)]
    )
    assert right > 0.5
    assert wrong < -0.5
    assert abs(noise) < 0.12


def test_the_terms_of_a_linear_function_correlate_fully_with_removals_by_the_mean() -> None:
    assert score("removal_correlation", judged(TERMS)) == pytest.approx(1, abs=1e-9)
    assert score("removal_correlation", judged(-TERMS)) == pytest.approx(-1, abs=1e-9)


def test_additivity_is_the_distance_of_the_sum() -> None:
    on = judged(TERMS)
    expected = np.abs(TERMS.sum(axis=1) - ROWS @ WEIGHTS)
    assert score("additivity_error", on) == pytest.approx(expected)


def test_the_auc_counts_pairs_of_used_and_unused_features() -> None:
    truth = np.array([[1.0, -1.0, 0.2, 0.0]] * 2)
    perfect, half, worst = np.array([[5.0, -4, 3, 0.1]]), np.array([[1.0, 1, 1, 1]]), np.array([[0.1, -0.1, 0.0, 2]])
    for values, expected in ((perfect, 1.0), (half, 0.5), (worst, 0.0)):
        assert score("truth_auc", judged(np.repeat(values, 2, axis=0), truth=truth)) == pytest.approx(expected)
    assert np.isnan(score("truth_auc", judged(perfect, truth=np.ones((1, 4))))).all(), "every feature is used"


@pytest.mark.parametrize("metric", ["truth_correlation", "exact_correlation"])
def test_a_correlation_does_not_depend_on_the_scale(metric: str) -> None:
    needs = {"truth": TERMS, "exact": TERMS}
    assert score(metric, judged(7 * TERMS, **needs)) == pytest.approx(1)
    assert score(metric, judged(-TERMS, **needs)) == pytest.approx(-1)


@pytest.mark.parametrize("metric", ["seed_agreement", "repeat_agreement"])
def test_agreement_reads_the_order_with_signs(metric: str) -> None:
    assert score(metric, judged(TERMS), np.exp(TERMS)) == pytest.approx(1)
    assert score(metric, judged(TERMS), -TERMS) == pytest.approx(-1)


def test_every_value_is_in_the_declared_range() -> None:
    on = judged(rng.generator("range").normal(size=ROWS.shape), truth=TERMS * [1, 1, 1, 0], exact=TERMS)
    for name, entry in registry.entries("table_metrics").items():
        other = (rng.generator("other").normal(size=ROWS.shape),) if entry.declared.get("between") else ()
        low, high = entry.declared["bounds"]
        values = score(name, on, *other)
        assert values.shape == (len(ROWS),)
        assert (values[np.isfinite(values)] >= low).all()
        assert high is None or (values[np.isfinite(values)] <= high).all()


def test_imputers_replace_what_is_removed_and_nothing_else() -> None:
    removed = np.tile([True, False, False, False], (len(ROWS), 1))
    for kind in ("mean", "marginal", "conditional"):
        filled = FeatureImputer(kind, TRAINING, (0, 0, 0, 0)).fill(ROWS, removed, rng.generator(0))  # type: ignore[arg-type]
        assert (filled[:, :, 1:] == ROWS[:, 1:]).all()
        assert not (filled[:, :, 0] == ROWS[:, 0]).any()


def test_the_conditional_imputer_keeps_correlations_and_the_marginal_one_does_not() -> None:
    random = rng.generator("twins")
    first = random.normal(size=500)
    twins = np.stack([first, first + 0.1 * random.normal(size=500)], axis=1)
    rows, removed = np.array([[2.0, 2.0]] * 30), np.tile([True, False], (30, 1))
    conditional = FeatureImputer("conditional", twins, (0, 0)).fill(rows, removed, rng.generator(1))[..., 0]
    marginal = FeatureImputer("marginal", twins, (0, 0)).fill(rows, removed, rng.generator(1))[..., 0]
    assert conditional.mean() == pytest.approx(2.0, abs=0.25)
    assert marginal.mean() == pytest.approx(0.0, abs=0.25)


def test_the_mean_of_a_category_is_its_most_frequent_one() -> None:
    training = np.array([[0.0], [2.0], [2.0]])
    filled = FeatureImputer("mean", training, (3,)).fill(np.array([[1.0]]), np.array([[True]]), rng.generator(0))
    assert filled.tolist() == [[[2.0]]]


def test_ranks_of_ties_are_averages_and_a_constant_row_has_no_correlation() -> None:
    assert rank(np.array([[3.0, 1.0, 3.0]])).tolist() == [[1.5, 0.0, 1.5]]
    assert np.isnan(correlate_rows(np.ones((1, 3)), np.array([[1.0, 2, 3]]))).all()
