"""The ends of intervals: textbook cases, a literal twin, never outside the range, in agreement with the p-value."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gradfaith.stats.interval_scales import (
    BETA,
    CORRELATION,
    LOG,
    LOGIT,
    NONE,
    PROPORTION,
    UNBOUNDED,
    Bounds,
    Estimates,
    T,
    interval_ends,
    p_values,
)

LEVEL = 0.95
GAIN = Bounds(low=0)


def one(mean: float, se: float, df: float = 11, *, n_images: int = 48, n_groups: int = 12) -> Estimates:
    return Estimates.of(mean, se, df, n_images, n_groups)


@pytest.mark.parametrize(("successes", "n"), [(1, 30), (3, 48), (45, 48), (0, 25), (25, 25)])
def test_independent_successes_near_an_end_have_the_clopper_pearson_interval(successes: int, n: int) -> None:
    share = successes / n
    se = np.sqrt(share * (1 - share) / n)  # of n independent images, each its own group
    found = interval_ends(one(share, se, n - 1, n_images=n, n_groups=n), PROPORTION, LEVEL)
    exact = stats.binomtest(successes, n).proportion_ci(LEVEL, method="exact")
    assert found.scale == BETA
    assert (float(found.low), float(found.high)) == (
        pytest.approx(exact.low, abs=1e-9),
        pytest.approx(exact.high, abs=1e-9),
    )


def test_fewer_degrees_of_freedom_leave_fewer_images_to_the_beta_interval() -> None:
    """Korn and Graubard: n = m (1 - m) / se^2 * (t(images - 1) / t(df))^2 successes and failures, whole or not."""
    share, se, df, n_images = 0.98, 0.02, 7.5, 60
    n = share * (1 - share) / se**2 * (stats.t.ppf(0.975, n_images - 1) / stats.t.ppf(0.975, df)) ** 2
    low = stats.beta.ppf(0.025, n * share, n - n * share + 1)
    high = stats.beta.ppf(0.975, n * share + 1, n - n * share)
    found = interval_ends(one(share, se, df, n_images=n_images), PROPORTION, LEVEL)
    assert found.scale == BETA
    assert np.allclose((found.low, found.high), (low, high), rtol=0, atol=1e-9)


def test_in_the_middle_the_interval_is_a_t_interval_of_the_logit() -> None:
    share, se, df = 0.4, 0.05, 9
    half = stats.t.ppf(0.975, df) * se / (share * (1 - share))
    middle = np.log(share / (1 - share))
    found = interval_ends(one(share, se, df), PROPORTION, LEVEL)
    assert found.scale == LOGIT
    assert np.allclose((found.low, found.high), 1 / (1 + np.exp(-(middle + np.array([-half, half])))), atol=1e-12)


def test_a_correlation_has_fisher_s_interval() -> None:
    r, n = 0.6, 40
    z, se_z = np.arctanh(r), 1 / np.sqrt(n - 3)
    found = interval_ends(one(r, se_z * (1 - r**2), 1e9, n_images=n), CORRELATION, LEVEL)
    assert np.allclose(
        (found.low, found.high), np.tanh(z + np.array([-1, 1]) * stats.norm.ppf(0.975) * se_z), atol=1e-6
    )


def test_a_gain_has_a_t_interval_of_its_logarithm() -> None:
    found = interval_ends(one(3.0, 0.6, 20), GAIN, LEVEL)
    half = stats.t.ppf(0.975, 20) * 0.6 / 3.0
    assert found.scale == LOG
    assert np.allclose((found.low, found.high), (3 * np.exp(-half), 3 * np.exp(half)), atol=1e-12)
    below = interval_ends(one(-2.0, 0.6, 20), Bounds(high=1), LEVEL)
    assert np.allclose((below.low, below.high), (1 - 3 * np.exp(half), 1 - 3 * np.exp(-half)), atol=1e-12)


def test_the_examples_of_the_embedded_study_that_left_their_range() -> None:
    """densenet LocAcc [0.71, 1.11], IoU [-0.00, 0.56], and 1.000 [1.000, 1.000] of 48 groups."""
    half = stats.t.ppf(0.975, 11)
    locacc = interval_ends(one(0.91, 0.20 / half, 11), PROPORTION, LEVEL)
    assert 0.4 < locacc.low < 0.6
    assert 0.99 < locacc.high <= 1
    iou = interval_ends(one(0.28, 0.28 / half, 11), PROPORTION, LEVEL)
    assert 0.05 < iou.low < 0.12
    assert 0.5 < iou.high < 0.65
    perfect = interval_ends(one(1.0, 0.0, 47, n_images=144, n_groups=48), PROPORTION, LEVEL)
    assert (round(float(perfect.low), 3), float(perfect.high)) == (0.926, 1.0)


@pytest.mark.parametrize("bounds", [PROPORTION, CORRELATION, GAIN, UNBOUNDED])
def test_equal_values_inside_the_range_are_constant_by_construction(bounds: Bounds) -> None:
    found = interval_ends(one(0.25, 0.0), bounds, LEVEL)
    assert np.isnan([found.low, found.high]).all()
    assert found.scale == NONE
    assert np.isnan(p_values(one(0.25, 0.0), bounds, LEVEL, found))


ANY_BOUNDS = st.sampled_from([PROPORTION, CORRELATION, GAIN, Bounds(high=1), Bounds(-0.5, 0.5), Bounds(1, 7)])


@given(
    ANY_BOUNDS, st.floats(0, 1), st.floats(0, 1), st.floats(1, 200), st.integers(8, 4000), st.floats(0.01, 1),
    st.sampled_from([0.8, 0.95, 0.99]),
)  # fmt: skip
def test_no_interval_leaves_the_range_or_its_estimate(
    bounds: Bounds, place: float, spread: float, df: float, n_images: int, share: float, level: float
) -> None:
    low = bounds.low if np.isfinite(bounds.low) else bounds.high - 5
    high = bounds.high if np.isfinite(bounds.high) else bounds.low + 5
    mean = low + place * (high - low)
    estimates = Estimates.of(mean, spread * (high - low) / 2, df, n_images, max(8, int(share * n_images)))
    found = interval_ends(estimates, bounds, level)
    if found.scale != NONE:
        assert bounds.low <= found.low <= mean + 1e-9
        assert mean - 1e-9 <= found.high <= bounds.high


@given(
    st.sampled_from([CORRELATION, UNBOUNDED, Bounds(-0.5, 0.5)]), st.floats(-0.99, 0.99), st.floats(0.001, 0.3),
    st.floats(2, 60), st.integers(8, 400),
)  # fmt: skip
def test_the_p_value_is_below_one_minus_the_level_where_the_interval_leaves_out_zero(
    bounds: Bounds, mean: float, se: float, df: float, n_images: int
) -> None:
    mean = mean / 2 if bounds.high == 0.5 else mean
    estimates = one(mean, se, df, n_images=n_images)
    found, p = (
        interval_ends(estimates, bounds, LEVEL),
        float(p_values(estimates, bounds, LEVEL, interval_ends(estimates, bounds, LEVEL))),
    )
    assert 0 <= p <= 1
    if abs(p - (1 - LEVEL)) > 1e-6:
        assert (p < 1 - LEVEL) == bool(found.low > 0 or found.high < 0)


def test_zero_at_an_end_of_the_range_has_no_p_value() -> None:
    for bounds in (PROPORTION, GAIN):
        estimates = one(0.4, 0.05)
        assert np.isnan(p_values(estimates, bounds, LEVEL, interval_ends(estimates, bounds, LEVEL)))


def test_arrays_give_what_their_numbers_give_one_by_one() -> None:
    means, errors = np.array([0.0, 0.02, 0.5, 0.97, 1.0]), np.array([0.0, 0.01, 0.1, 0.02, 0.0])
    together = interval_ends(Estimates.of(means, errors, np.full(5, 9.0), 40, 10), PROPORTION, LEVEL)
    assert together.scale.tolist() == [BETA, BETA, LOGIT, BETA, BETA]
    for place, (mean, se) in enumerate(zip(means, errors, strict=True)):
        alone = interval_ends(one(mean, se, 9.0, n_images=40, n_groups=10), PROPORTION, LEVEL)
        assert (together.low[place], together.high[place]) == (float(alone.low), float(alone.high))


def test_without_a_range_the_interval_is_the_ordinary_one() -> None:
    found = interval_ends(one(0.3, 0.2, 16), UNBOUNDED, LEVEL)
    assert np.allclose((found.low, found.high), stats.t.interval(LEVEL, 16, 0.3, 0.2), atol=1e-12)
    assert found.scale == T
