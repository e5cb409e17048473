"""The interval of a mean: closed forms, a literal twin, what must not matter, and coverage by simulation."""

import itertools

import numpy as np
import pytest
from mean_interval import mean_interval
from scipy import stats
from scipy.special import stdtrit

from gradfaith import rng
from gradfaith.stats import spread
from gradfaith.stats.interval_scales import PROPORTION
from gradfaith.stats.intervals import CONSTANT

UNEQUAL = np.array([1, 1, 2, 2, 3, 4, 5, 6, 8, 10, 14, 20])
FORTY = np.round(np.exp(np.linspace(0, 3.4, 40))).astype(int)


def test_one_image_per_group_gives_the_ordinary_t_interval():
    values = rng.generator("t").normal(0.3, 2.0, size=17)
    ours = mean_interval(values, range(17))
    theirs = stats.t.interval(0.95, 16, values.mean(), stats.sem(values))
    assert np.allclose((ours.low, ours.high), theirs, rtol=0, atol=1e-12)
    assert ours.df == pytest.approx(16, abs=1e-9)
    assert ours.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=1e-12)


def test_equal_groups_give_the_t_interval_of_the_group_means():
    values = rng.generator("equal").normal(size=(9, 4))
    ours = mean_interval(values.ravel(), np.repeat(np.arange(9), 4))
    means = values.mean(axis=1)
    assert np.allclose((ours.low, ours.high), stats.t.interval(0.95, 8, means.mean(), stats.sem(means)), atol=1e-12)


def test_a_balanced_design_gives_the_components_of_the_two_way_analysis_of_variance():
    """y = group + seed + both: V = (MS_groups + MS_seeds - MS_both) / (G S), as in any textbook."""
    g, s = 10, 4
    y = rng.generator("anova").normal(size=(g, s)) + 3 * np.arange(s)
    total, rows, columns = y.mean(), y.mean(axis=1), y.mean(axis=0)
    ms_groups = s * ((rows - total) ** 2).sum() / (g - 1)
    ms_seeds = g * ((columns - total) ** 2).sum() / (s - 1)
    ms_both = ((y - rows[:, None] - columns + total) ** 2).sum() / ((g - 1) * (s - 1))
    variance = (ms_groups + ms_seeds - ms_both) / (g * s)
    df = (ms_groups + ms_seeds - ms_both) ** 2 / (ms_groups**2 / (g - 1) + (ms_seeds - ms_both) ** 2 / (s - 1))
    ours = mean_interval(y.ravel(), np.repeat(np.arange(g), s), np.tile(np.arange(s), g))
    assert ours.se == pytest.approx(np.sqrt(variance), rel=1e-12)
    assert ours.df == pytest.approx(df, rel=1e-9)
    assert ours.high == pytest.approx(total + stdtrit(df, 0.975) * np.sqrt(variance), rel=1e-9)
    assert (ours.n_groups, ours.n_seeds, ours.interval) == (g, s, "t over groups and seeds")


def test_the_jackknife_is_that_of_leaving_each_group_and_each_seed_out():
    """The literal twin: every mean is computed again without the group, and without the seed."""
    noise = rng.generator("twin")
    rows = [
        (g, s, noise.normal() + g % 3 + s) for g in range(11) for s in range(3) for _ in range(noise.integers(1, 5))
    ]
    group, seed, value = (np.array(column) for column in zip(*rows, strict=True))

    def mean(keep):
        return np.mean([value[keep & (seed == s)].mean() for s in sorted(set(seed[keep]))])

    everything = np.ones(len(value), dtype=bool)
    per_group = np.array([mean(group != g) - mean(everything) for g in range(11)])
    over_groups = 10 / 11 * (per_group**2).sum()
    without_seed = np.array([mean(seed != s) for s in range(3)])
    over_seeds = 2 / 3 * ((without_seed - without_seed.mean()) ** 2).sum()
    both = 0.0
    for g in range(11):
        changes = np.array([mean((seed != s) & (group != g)) - mean(seed != s) for s in range(3)])
        both += 10 / 11 * 2 / 3 * ((changes - changes.mean()) ** 2).sum()
    ours = mean_interval(value, group, seed)
    assert ours.mean == pytest.approx(mean(everything), rel=1e-12)
    assert ours.se**2 == pytest.approx(over_groups + max(0.0, over_seeds - both), rel=1e-10)


def test_the_degrees_of_freedom_are_those_of_the_quadratic_form():
    """The twin builds the whole matrix of the form and takes the traces."""
    shares = UNEQUAL / UNEQUAL.sum()
    images = np.repeat(np.arange(12), UNEQUAL)
    centre = np.eye(len(images)) - 1 / len(images)
    form = np.stack([centre[images == g].sum(axis=0) / (1 - shares[g]) for g in range(12)])
    gram = form @ form.T
    df = np.trace(gram) ** 2 / np.trace(gram @ gram)
    assert spread.group_degrees_of_freedom(shares) == pytest.approx(df, rel=1e-10)
    assert df < 8  # 12 groups, but a few hold most images


def test_names_and_order_of_rows_do_not_matter():
    noise = rng.generator("order")
    group, seed, value = noise.integers(0, 12, 200), noise.integers(0, 2, 200), noise.normal(size=200)
    before = mean_interval(value, group, seed)
    order = noise.permutation(200)
    names = [f"patient {99 - g}" for g in group[order]]
    after = mean_interval(value[order], names, [f"s{s}" for s in seed[order]])
    assert np.allclose((before.low, before.high, before.df), (after.low, after.high, after.df), rtol=1e-10)


def test_shift_and_scale_carry_over_to_the_interval():
    noise = rng.generator("affine")
    group, value = noise.integers(0, 10, 80), noise.normal(size=80)
    one, other = mean_interval(value, group), mean_interval(5 - 3 * value, group)
    assert (other.low, other.high) == (pytest.approx(5 - 3 * one.high), pytest.approx(5 - 3 * one.low))


def test_seven_groups_get_a_number_and_a_reason_but_no_interval():
    found = mean_interval([1.0, 2.0] * 7, np.repeat(np.arange(7), 2))
    assert (found.mean, found.n_groups, found.n_images) == (1.5, 7, 14)
    assert np.isnan([found.low, found.high, found.p]).all()
    assert found.reason == "7 groups, an interval needs 8"
    assert np.isfinite(mean_interval(np.arange(8.0), range(8)).low)


def test_a_seed_with_few_groups_takes_the_interval_away():
    found = mean_interval(np.arange(13.0), [*range(10), 0, 1, 2], [0] * 10 + [1] * 3)
    assert np.isnan(found.low)
    assert found.reason.startswith("3 groups in one of the seeds")


def test_no_value_at_all_is_said_not_computed():
    found = mean_interval([], [])
    assert np.isnan(found.mean)
    assert found.reason == "no image has a value"


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_equal_values_have_no_interval_and_the_reason_says_so(value):
    found = mean_interval([value] * 30, [i % 9 for i in range(30)], [i % 2 for i in range(30)])
    assert found.mean == pytest.approx(value)
    assert np.isnan([found.low, found.high, found.p]).all()
    assert (found.interval, found.reason) == ("", CONSTANT)


def test_equal_values_at_an_end_of_the_range_leave_another_value_possible():
    found = mean_interval([1.0] * 30, [i % 10 for i in range(30)], bounds=PROPORTION)
    assert (found.low, found.high) == (pytest.approx(0.025 ** (1 / 10)), 1.0)  # ten groups without a failure
    assert found.interval == "beta over groups"


def test_two_seeds_give_the_interval_of_these_two_models():
    noise = rng.generator("seeds")
    group, patient = np.arange(20), noise.normal(size=20)
    value, seeds = np.concatenate([patient, patient]), np.repeat([0, 1], 20)
    alone = mean_interval(patient, group)
    for apart in (0, 2):
        both = mean_interval(value + apart * seeds, np.tile(group, 2), seeds)
        assert both.high - both.low == pytest.approx(alone.high - alone.low, rel=1e-9)
        assert (both.interval, both.n_seeds) == ("t over groups", 2)


def test_three_seeds_that_disagree_widen_the_interval_and_three_that_agree_do_not():
    noise = rng.generator("seeds")
    group, patient = np.tile(np.arange(20), 3), noise.normal(size=20)
    value, seeds = np.tile(patient, 3), np.repeat([0, 1, 2], 20)
    alone, agree = mean_interval(patient, range(20)), mean_interval(value, group, seeds)
    disagree = mean_interval(value + 2 * seeds, group, seeds)
    assert agree.se == pytest.approx(alone.se, rel=1e-12)
    assert agree.df == pytest.approx(alone.df, rel=1e-12)
    assert disagree.high - disagree.low > 4 * (alone.high - alone.low)
    assert disagree.interval == "t over groups and seeds"


def test_pairs_of_seeds_leave_a_seed_out_with_all_its_pairs():
    """Three seeds, three pairs: without seed s the one pair of the other two remains."""
    pairs = list(itertools.combinations(range(3), 2))
    rows = spread.leave_one_seed_out(pairs)
    assert rows.tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert spread.leave_one_seed_out([(0, 1), (0, 2), (0, 3)]).shape == (3, 3)  # the reference stays
    assert not len(spread.leave_one_seed_out([(0, 1)]))  # one pair: conditional on its two models


def coverage(sizes, reps, seeds=1, *, patients=0.7, between=0.0, both=0.0, skewed=False):
    """Draw values of patients, images, seeds; the share of 95 % intervals that hold the true mean, zero."""
    noise = rng.generator("coverage", len(sizes), seeds, patients, between, both, skewed)
    g = len(sizes)
    effect = noise.exponential(size=(reps, g, 1)) - 1 if skewed else noise.standard_normal((reps, g, 1))
    images = noise.standard_normal((reps, g, 1)) / np.sqrt(sizes)[:, None]
    mean = patients * effect + np.sqrt(1 - patients**2) * images
    mean = mean + between * noise.standard_normal((reps, 1, seeds)) + both * noise.standard_normal((reps, g, seeds))
    counts = np.broadcast_to(sizes[:, None].astype(float), mean.shape)
    found = spread.combine_spread(spread.jackknife_of_means(mean * counts, counts), [(s,) for s in range(seeds)])
    return (np.abs(found.estimate) <= stdtrit(found.df, 0.975) * np.sqrt(found.variance)).mean()


@pytest.mark.parametrize("sizes", [UNEQUAL, FORTY, np.full(12, 5)], ids=["12 unequal", "40", "12 equal"])
@pytest.mark.parametrize("patients", [0.0, 0.7])
def test_the_interval_covers_with_one_seed(sizes, patients):
    assert 0.935 <= coverage(sizes, 4000, patients=patients) <= 0.975


@pytest.mark.parametrize("sizes", [UNEQUAL, FORTY], ids=["12 unequal", "40"])
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("between", [0.0, 0.2])
def test_the_interval_covers_with_several_seeds(sizes, seeds, between):
    assert 0.93 <= coverage(sizes, 4000, seeds, between=between, both=0.3) <= 0.985


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [np.array([1, 2, 3, 4, 6, 8, 12, 20]), UNEQUAL, FORTY], ids=["8", "12", "40"])
@pytest.mark.parametrize("seeds", [1, 3, 5, 10])
@pytest.mark.parametrize("between", [0.0, 0.1, 0.2, 0.5])
@pytest.mark.parametrize("skewed", [False, True])
def test_the_interval_covers_on_a_wide_grid(sizes, seeds, between, skewed):
    found = coverage(sizes, 20000, seeds, between=between if seeds > 1 else 0.0, both=0.2, skewed=skewed)
    assert (0.86 if skewed else 0.925) <= found <= 0.992
