"""Designs are planned with the right power: textbook t tests, the reference table, and simulated studies."""

from math import isnan, sqrt

import numpy as np
import pytest
from scipy import stats

from gradfaith.stats.gates import judge_part
from gradfaith.stats.intervals import make_intervals
from gradfaith.stats.sample_size import (
    Components,
    Design,
    PlannedNumber,
    chance_decided,
    components_of,
    detection_chance,
    gate_chances,
    pool_seeds,
    recommend,
    smallest_difference,
    spread,
)
from gradfaith.stats.spread import measure_sums

# The standard deviations behind the reference table (saliency score, Grad-CAM minus lungs), fitted to its sixteen entries.
REFERENCE = Components(groups=0.02524, seeds=0.00726, residual=0.00551)
TABLE = {  # patients, seeds -> smallest detectable difference, and adjusted for 216 contrasts
    (24, 3): (0.021, 0.044), (24, 5): (0.018, 0.031), (48, 3): (0.019, 0.052), (48, 5): (0.014, 0.027),
    (100, 3): (0.019, 0.082), (100, 5): (0.013, 0.028),
}  # fmt: skip


@pytest.mark.parametrize(("n", "effect"), [(34, 0.5), (54, 0.3876), (15, 0.7782)])
def test_a_paired_t_test_has_the_power_of_the_textbook(n: int, effect: float) -> None:
    """One seed, no residual: the paired t test. n = 34 detects d = 0.5 with a power of 0.808 (G*Power)."""
    one, design = Components(groups=1.0, seeds=0.0, residual=0.0), Design(n, 1)
    error, df = spread(one, design)
    assert (error, df) == (pytest.approx(1 / sqrt(n)), n - 1)
    limit = stats.t.ppf(0.975, n - 1)
    power = stats.nct.sf(limit, n - 1, effect * sqrt(n)) + stats.nct.cdf(-limit, n - 1, effect * sqrt(n))
    assert detection_chance(effect / error, df, 0.05) == pytest.approx(power, abs=1e-5)
    least = smallest_difference(one, design, 0.05, power=float(power))
    assert least == pytest.approx(effect, rel=1e-4)
    if n == 34:
        assert power == pytest.approx(0.8078, abs=1e-4)


@pytest.mark.parametrize(("design", "expected"), TABLE.items())
def test_the_reference_table_of_smallest_differences(design: tuple[int, int], expected: tuple[float, float]) -> None:
    found = [smallest_difference(REFERENCE, Design(*design), alpha) for alpha in (0.05, 0.05 / 216)]
    assert found == [pytest.approx(number, abs=0.0006, rel=0.045) for number in expected]


def test_two_seeds_are_planned_for_these_models() -> None:
    """Patients alone vary then, so more of them always help; with three seeds they cannot replace seeds."""
    two = [smallest_difference(REFERENCE, Design(patients, 2), 0.05) for patients in (24, 48, 100)]
    three = [smallest_difference(REFERENCE, Design(patients, 3), 0.05 / 216) for patients in (24, 48, 100)]
    assert two == sorted(two, reverse=True)
    assert three == sorted(three)


def draw(components: Components, design: Design, mean: float, random: np.random.Generator) -> np.ndarray:
    groups = random.normal(0, components.groups, (design.patients, 1))
    seeds = random.normal(0, components.seeds, (1, design.seeds))
    return mean + groups + seeds + random.normal(0, components.residual, (design.patients, design.seeds))


def test_components_are_found_in_a_large_study() -> None:
    random = np.random.default_rng(0)
    true = Components(groups=0.3, seeds=0.1, residual=0.2)
    found = [
        components_of(table, np.ones_like(table))
        for table in (draw(true, Design(200, 8), 1.0, random) for _ in range(20))
    ]
    means = [np.sqrt(np.mean([getattr(one, name) ** 2 for one in found])) for name in ("groups", "seeds", "residual")]
    assert means == [pytest.approx(0.3, rel=0.05), pytest.approx(0.1, rel=0.2), pytest.approx(0.2, rel=0.05)]


def test_components_of_groups_of_unequal_size_by_hand() -> None:
    """Two seeds, three groups of 1, 1 and 2 images: contributions 3 (sum - mean n) / 4."""
    sums, counts = np.array([[1.0, 2.0], [3.0, 2.0], [4.0, 8.0]]), np.array([[1.0, 1.0], [1.0, 1.0], [2.0, 2.0]])
    share = 0.75 * np.array([[1 - 2, 2 - 3], [3 - 2, 2 - 3], [4 - 4, 8 - 6]])
    by_group = share.mean(axis=1)
    residual = ((share - by_group[:, None]) ** 2).sum() / 2
    found = components_of(sums, counts)
    assert found.residual**2 == pytest.approx(residual)
    assert found.groups**2 == pytest.approx(max((by_group**2).sum() / 2 - residual / 2, 0))
    assert found.seeds**2 == pytest.approx(max(0.5 - residual / 3, 0))
    alone = components_of(sums[:, :1], counts[:, :1])
    assert alone.residual == 0
    assert isnan(alone.seeds)


def test_the_seeds_of_all_networks_are_pooled() -> None:
    pooled = pool_seeds([Components(1, 0.3, 0), Components(2, 0.1, 0), Components(3, float("nan"), 0)])
    assert [one.seeds for one in pooled] == [pytest.approx(sqrt(0.05))] * 3
    assert [one.groups for one in pooled] == [1, 2, 3]
    assert isnan(pool_seeds([Components(1, float("nan"), 0)])[0].seeds)


def test_unknown_seeds_leave_the_plan_unknown_from_three_seeds_on() -> None:
    one = Components(groups=0.1, seeds=float("nan"), residual=0.0)
    assert smallest_difference(one, Design(24, 2), 0.05) > 0
    assert isnan(smallest_difference(one, Design(24, 3), 0.05))
    number = PlannedNumber("faith_gain", "a", 0.2, 0.05, one)
    assert isnan(gate_chances([number], Design(24, 3), 0.05)["faith_gain"])


def test_a_gate_is_as_certain_as_its_least_certain_number() -> None:
    far, near = (
        PlannedNumber("localization", part, value, 0.0, REFERENCE) for part, value in (("a", 0.2), ("b", 0.01))
    )
    design = Design(24, 3)
    chances = [chance_decided(number, design, 0.05) for number in (far, near)]
    assert chances[0] > 0.99
    assert chances[1] < 0.5
    assert gate_chances([far, near], design, 0.05) == {"localization": chances[1]}
    below = PlannedNumber("localization", "c", -0.2, 0.0, REFERENCE)
    assert chance_decided(below, design, 0.05) == pytest.approx(chances[0]), "decided to fail"
    same = PlannedNumber("localization", "d", 0.0, 0.0, Components(0.0, 0.0, 0.0))
    assert chance_decided(same, design, 0.05) == 0
    pair = PlannedNumber("consistency", "e", 0.03, 0.0, REFERENCE, seeds_per_run=2)
    assert chance_decided(pair, Design(24, 6), 0.05) == pytest.approx(
        chance_decided(PlannedNumber("", "", 0.03, 0.0, REFERENCE), Design(24, 3), 0.05)
    )


def test_a_part_on_the_wrong_side_decides_a_gate_alone_and_the_least_certain_network_counts() -> None:
    design = Design(24, 3)
    near, failing = (
        PlannedNumber("localization", part, value, 0.0, REFERENCE, arch="net-a", fails=value < 0)
        for part, value in (("a", 0.01), ("b", -0.2))
    )
    assert gate_chances([near, failing], design, 0.05)["localization"] == chance_decided(failing, design, 0.05)
    other = PlannedNumber("localization", "c", 0.02, 0.0, REFERENCE, arch="net-b")
    chances = gate_chances([near, failing, other], design, 0.05)
    assert chances["localization"] == chance_decided(other, design, 0.05) < 0.9


@pytest.mark.parametrize(("interval", "seeds"), [("t over groups", 1), ("t over groups and seeds", 5)])
def test_the_groups_that_a_verdict_asks_for_decide_with_a_chance_of_one_half(interval: str, seeds: int) -> None:
    design = Design(24, seeds)
    error, df = spread(REFERENCE, design)
    half, value = float(stats.t.ppf(0.975, df)) * error, 0.006
    counts = {"n_images": 24, "n_groups": 24, "n_seeds": seeds, "reason": "", "interval": interval}
    part = judge_part("centre", {"value": value, "low": value - half, "high": value + half, **counts}, 0.0, ">", 8)
    assert part.groups_needed is not None
    needed = Design(part.groups_needed, part.seeds_needed or seeds)
    chance = chance_decided(PlannedNumber("localization", "", value, 0.0, REFERENCE), needed, 0.05)
    assert chance == pytest.approx(0.5, abs=0.1)


def test_the_smallest_sufficient_design_is_recommended() -> None:
    designs = [Design(patients, seeds) for patients in (24, 48) for seeds in (1, 3)]
    smallest = dict(zip(designs, (0.05, 0.03, 0.02, 0.01), strict=True))
    gates = dict(zip(designs, ({"a": 0.9}, {"a": 0.7}, {"a": 0.9}, {"a": 0.9}), strict=True))
    assert recommend(smallest, gates, 0.03) == Design(48, 1)
    assert recommend(smallest, gates, float("nan")) == Design(24, 1)
    assert recommend(smallest, {}, 0.03) == Design(24, 3)
    assert recommend(smallest, {}, float("nan")) is None, "nothing is asked for"
    assert recommend(smallest, gates, 0.001) is None
    assert recommend(smallest, {design: {"a": float("nan")} for design in designs}, 1.0) is None


@pytest.mark.slow
@pytest.mark.parametrize("design", [Design(24, 1), Design(24, 2), Design(48, 3), Design(24, 5), Design(100, 3)])
def test_planned_power_is_the_power_of_simulated_studies(design: Design) -> None:
    """The interval of stats/intervals.py excludes 0 as often as planned, at the smallest detectable difference."""
    random, repetitions = np.random.default_rng(7), 1500
    least = smallest_difference(REFERENCE, design, 0.05)
    runs, found = [(seed,) for seed in range(design.seeds)], 0
    fixed = Components(REFERENCE.groups, 0.0 if design.seeds < 3 else REFERENCE.seeds, REFERENCE.residual)
    cells = []
    for _ in range(repetitions):
        table = draw(fixed, design, least, random)
        cells.append(measure_sums(table, np.ones_like(table), runs))
    found = sum(interval.low > 0 or interval.high < 0 for interval in make_intervals(cells))
    assert found / repetitions == pytest.approx(0.8, abs=0.05)
