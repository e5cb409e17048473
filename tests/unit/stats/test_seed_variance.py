"""The variance between seeds, of each architecture alone or pooled, and what stands beside an interval: seeds and equivalence."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from whole_scores import contrasts_of

from gradfaith import rng
from gradfaith.stats.estimates import estimate_scores
from gradfaith.stats.interval_scales import UNBOUNDED, Estimates, IntervalRule, equivalence_p_values, interval_ends
from gradfaith.stats.spread import combine_spread, jackknife_of_means, pool_spreads

POOLED = IntervalRule(pooled=True)


def scores(archs: int = 3, seeds: int = 2, patients: int = 12, gain: float = 0.0, seed_sd: float = 0.3) -> pd.DataFrame:
    """Draw a score per image, model and method; `gain`: what the first method adds."""
    noise, rows = rng.generator("seed variance", archs, seeds, patients), []
    image = noise.standard_normal(2 * patients)
    for arch in range(archs):
        for method in ("gradcam", "centre"):
            for seed in range(seeds):
                shift = seed_sd * noise.standard_normal() + (gain if method == "gradcam" else 0.0)
                values = image + shift + 0.2 * noise.standard_normal(len(image))
                rows += [(f"net-{arch}", seed, method, f"i{k}", f"p{k // 2}", value) for k, value in enumerate(values)]
    table = pd.DataFrame(rows, columns=["arch", "seed", "method", "image_id", "group", "value"])
    fixed = {
        "arch2": "",
        "seed2": pd.NA,
        "layer": "",
        "target": "true",
        "metric": "faith",
        "variant": "",
        "copy": 0,
        "label": "a",
    }
    return table.assign(**fixed, status="ok", reason="")


def seed_excess(table: pd.DataFrame) -> float:
    """Return what seeds add to the variance of one architecture's mean, by plain loops that leave out seeds and groups."""
    seeds, groups = sorted(set(table["seed"])), sorted(set(table["group"]))

    def means(rows: pd.DataFrame) -> list[float]:
        return [float(rows.loc[rows["seed"] == seed, "value"].mean()) for seed in seeds]

    def jackknife(of_seeds: list[float]) -> float:
        without = [
            np.mean([value for other, value in enumerate(of_seeds) if other != place]) for place in range(len(seeds))
        ]
        return (len(seeds) - 1) / len(seeds) * sum((value - np.mean(without)) ** 2 for value in without)

    whole, both = means(table), 0.0
    for group in groups:
        change = [left - right for left, right in zip(means(table[table["group"] != group]), whole, strict=True)]
        both += jackknife(change)
    return jackknife(whole) - (len(groups) - 1) / len(groups) * both


def test_pooled_seeds_are_those_of_a_plain_loop_over_architectures() -> None:
    table = scores()
    excess = np.mean([seed_excess(own[own["method"] == "gradcam"]) for _, own in table.groupby("arch")])
    found = estimate_scores([table], rule=POOLED)
    own = estimate_scores([table], rule=IntervalRule())
    for arch in ("net-0", "net-2"):
        row, alone = (part[(part["arch"] == arch) & (part["method"] == "gradcam")].iloc[0] for part in (found, own))
        variance = alone["se"] ** 2 + max(excess, 0.0)
        assert row["se"] == pytest.approx(np.sqrt(variance))
        assert row["df"] == pytest.approx(
            min(variance**2 / (alone["se"] ** 4 / alone["df"] + excess**2 / 3), alone["df"])
        )
        half = stats.t.ppf(0.975, row["df"]) * row["se"]
        assert [row["low"], row["high"]] == pytest.approx([row["value"] - half, row["value"] + half])
        assert (row["interval"], alone["interval"]) == ("t over groups and seeds", "t over groups")


def test_architectures_in_parts_are_pooled_as_in_one_table() -> None:
    table = scores()
    parts = [own for _, own in table.groupby("arch")]
    pd.testing.assert_frame_equal(estimate_scores(parts, rule=POOLED), estimate_scores([table], rule=POOLED))


def test_contrasts_and_their_families_pool_too() -> None:
    table = scores()
    own, pooled = (contrasts_of(table, ["centre"], {}, rule=rule) for rule in (IntervalRule(), POOLED))
    of_control = own["comparison"] == "control"
    assert (pooled["se"] > own["se"])[of_control].all()
    assert (pooled["high_family"] - pooled["low_family"] > own["high_family"] - own["low_family"])[of_control].all()
    assert ((pooled["p_family"] < 0.05) == ((pooled["low_family"] > 0) | (pooled["high_family"] < 0))).all()


def test_the_seeds_stand_beside_their_mean() -> None:
    table = scores(archs=1)
    row = estimate_scores([table]).set_index("method").loc["gradcam"]
    means = table[table["method"] == "gradcam"].groupby("seed")["value"].mean()
    assert row["sd_seeds"] == pytest.approx(means.std(ddof=1))
    assert row["seed_values"] == " ".join(f"{value:.4g}" for value in means)
    assert row["value"] == pytest.approx(means.mean())
    one = estimate_scores([table[table["seed"] == 0]]).set_index("method").loc["gradcam"]
    assert np.isnan(one["sd_seeds"])
    assert one["seed_values"] == f"{means[0]:.4g}"


@pytest.mark.parametrize("gain", [0.0, 0.02, 0.5])
def test_equivalence_is_two_one_sided_t_tests_of_the_patients_differences(gain: float) -> None:
    """One seed, two images of every patient: the test is that of the patients' mean differences."""
    table = scores(archs=1, seeds=1, gain=gain, seed_sd=0.0)
    row = contrasts_of(table, ["centre"], {}, margins={"faith": 0.1}).iloc[0]
    wide = table.pivot_table(index="group", columns="method", values="value")
    differences = (wide["gradcam"] - wide["centre"]).to_numpy()
    above = stats.ttest_1samp(differences, -0.1, alternative="greater").pvalue
    below = stats.ttest_1samp(differences, 0.1, alternative="less").pvalue
    assert row["p_equivalent"] == pytest.approx(max(above, below))
    by_patient: dict[str, dict[str, list[float]]] = {}
    for score in table.itertuples():
        by_patient.setdefault(score.group, {}).setdefault(score.method, []).append(score.value)
    looped = [
        sum(own["gradcam"]) / len(own["gradcam"]) - sum(own["centre"]) / len(own["centre"])
        for own in by_patient.values()
    ]
    n, mean = len(looped), sum(looped) / len(looped)
    se = (sum((one - mean) ** 2 for one in looped) / (n - 1) / n) ** 0.5
    from_loops = max(1 - stats.t.cdf((mean + 0.1) / se, n - 1), stats.t.cdf((mean - 0.1) / se, n - 1))
    assert row["p_equivalent"] == pytest.approx(from_loops, abs=1e-12)
    assert row["margin"] == 0.1
    narrow = stats.t.interval(0.9, len(differences) - 1, differences.mean(), stats.sem(differences))
    assert (row["p_equivalent"] < 0.05) == (narrow[0] > -0.1 and narrow[1] < 0.1)
    without = contrasts_of(table, ["centre"], {}).iloc[0]
    assert np.isnan(without["margin"])
    assert np.isnan(without["p_equivalent"])


def test_a_difference_at_the_margin_is_called_equivalent_one_time_in_twenty() -> None:
    noise = rng.generator("equivalence")
    values = 0.1 + 0.1 * noise.standard_normal((4000, 24))
    made_of = (values.mean(axis=1), values.std(axis=1, ddof=1) / np.sqrt(24), 23.0, 24.0, 24.0)
    estimates = Estimates.of(made_of[0], made_of[1], np.full(4000, 23.0), 24.0, 24.0)
    ends = interval_ends(estimates, UNBOUNDED, 0.95)
    assert 0.03 < (equivalence_p_values(estimates, UNBOUNDED, 0.95, ends, 0.1) < 0.05).mean() < 0.06


@pytest.mark.slow
@pytest.mark.parametrize("groups", [12, 25, 100])
def test_two_seeds_of_three_architectures_hold_the_mean_of_new_trainings(groups: int) -> None:
    """Pooled, and with seeds that differ strongly: at least 91 % of the intervals of all three hold the mean."""
    noise, studies, held = rng.generator("pooled coverage", groups), 4000, np.zeros(3)
    shape = (studies, groups, 2)
    spreads = []
    for _ in range(3):
        values = 0.35 * noise.standard_normal((studies, 1, 2)) + noise.standard_normal((studies, groups, 1))
        values = values + 0.3 * noise.standard_normal(shape)
        spreads.append(combine_spread(jackknife_of_means(values, np.ones(shape)), [(0,), (1,)]))
    for arch, spread in enumerate(pool_spreads(spreads)):
        half = stats.t.ppf(0.975, spread.df) * np.sqrt(spread.variance)
        held[arch] = (np.abs(spread.estimate) <= half).mean()
    assert (held >= 0.91).all(), held
