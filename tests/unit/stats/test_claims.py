"""Claims are decided as their rule says: each number against plain loops or another library, each verdict from a table."""

from dataclasses import replace
from itertools import product
from math import exp, log, sqrt

import numpy as np
import pandas as pd
import pytest
from claim_scores import ARCHS, CLASSES, CONTROLS, SEEDS, claim_data, claim_test
from scipy import stats
from whole_scores import contrasts_of

from gradfaith.stats.claim_data import ClaimData, ClaimTerm
from gradfaith.stats.claim_numbers import log_spread, range_of_sum, slope
from gradfaith.stats.claims import CLAIM_COLUMNS, Claim, decide_case, evaluate_claims
from gradfaith.stats.image_scores import scores_by_image
from gradfaith.stats.interval_scales import Bounds
from gradfaith.stats.meta_evaluation import controls_that_fool
from gradfaith.stats.rank_agreement import rank_agreement_with_truth
from gradfaith.stats.winrates import estimate_winrates
from gradfaith.vocabulary import ALL_CLASSES


@pytest.fixture(scope="module")
def data() -> ClaimData:
    return claim_data()


def claim(*tests: object, over: str = "all", **more: object) -> Claim:
    return Claim("c", "A sentence", "a paper", over, list(tests), **more)


def one(data: ClaimData, *tests: object, **how: object) -> pd.DataFrame:
    table = evaluate_claims([claim(*tests, **how)], data)
    assert list(table) == list(CLAIM_COLUMNS)
    return table


GRADCAM_OVER_GRID = [(1.0, "net-a", "gradcam"), (-1.0, "net-a", "random-grid")]


def seed_jackknife(numbers: list[float]) -> float:
    """Return the jackknife variance of a mean over seeds."""
    s = len(numbers)
    means = [(sum(numbers) - number) / (s - 1) for number in numbers]
    centre = sum(means) / s
    return (s - 1) / s * sum((mean - centre) ** 2 for mean in means)


def loop_end(mean: float, variance: float, df: float, sign: int, alpha: float) -> float:
    """Return an end of the logit t interval of a difference of two shares, which lies in [-1, 1]."""
    share, error = (mean + 1) / 2, sqrt(variance) / 2
    half = stats.t.ppf(1 - alpha / 2, df) * error / (share * (1 - share))
    return 2 / (1 + exp(-(log(share / (1 - share)) + sign * half))) - 1


def test_one_claim_recomputed_by_plain_loops(data: ClaimData) -> None:
    """Grad-CAM exceeds both controls by 0.2 on most of two networks: k = 2, u = 2, m = 2; over groups and three seeds."""
    cases = [
        claim_test([(1.0, arch, "gradcam"), (-1.0, arch, control)], case=arch, condition=control, margin=0.2)
        for arch, control in product(ARCHS[:2], CONTROLS)
    ]
    table = one(data, *cases, over="most")
    rows = data.scores(["saliency_score"])
    value = {}
    for row in rows.itertuples():
        if row.status == "ok":
            value[row.arch, row.method, row.seed, row.image_id] = row.value
    group_of = dict(zip(rows["image_id"], rows["group"], strict=True))
    for found in table.itertuples():
        by_seed = []
        for seed in SEEDS:
            differences = {}
            for (arch, method, own, image), number in value.items():
                if (arch, method, own) == (found.case, "gradcam", seed):
                    differences[image] = number - value[arch, found.condition, own, image]
            by_seed.append(differences)
        groups = sorted({group_of[image] for image in by_seed[0]})
        theta = [sum(differences.values()) / len(differences) for differences in by_seed]
        change = []  # by group: what each seed's mean becomes without it, minus that mean
        for group in groups:
            row = []
            for differences, mean in zip(by_seed, theta, strict=True):
                rest = [number for image, number in differences.items() if group_of[image] != group]
                row.append(sum(rest) / len(rest) - mean)
            change.append(row)
        mean, g, s = sum(theta) / 3, len(groups), len(SEEDS)
        over_groups = (g - 1) / g * sum((sum(row) / s) ** 2 for row in change)

        extra = max(0.0, seed_jackknife(theta) - (g - 1) / g * sum(seed_jackknife(row) for row in change))
        variance = over_groups + extra
        df = min(g - 1, variance**2 / (over_groups**2 / (g - 1) + extra**2 / (s - 1))) if extra else g - 1
        towards, away = 0.05 / (2 - 2 + 1), 0.05 / (2 * 2)
        assert found.value == pytest.approx(mean, abs=1e-12)
        assert found.low == pytest.approx(loop_end(mean, variance, df, -1, towards), abs=1e-9)
        assert found.high == pytest.approx(loop_end(mean, variance, df, 1, away), abs=1e-9)
        expected = "supported" if found.low > 0.2 else "refuted" if found.high < 0.2 else "undecided"
        assert found.number_verdict == expected
    assert set(table["number_verdict"]) == {"supported"}
    assert set(table["verdict"]) == {"supported"}
    assert set(table["n_seeds"]) == {3}


def test_a_single_number_is_the_contrast_of_the_contrasts_table(data: ClaimData) -> None:
    row = one(data, claim_test(GRADCAM_OVER_GRID)).iloc[0]
    found = contrasts_of(data.scores(["saliency_score"]), CONTROLS, data.better, rule=data.rule)
    (same,) = found.query("arch == 'net-a' and method == 'gradcam' and against == 'random-grid'").to_dict("records")
    assert {name: row[name] for name in ("value", "low", "high", "se", "df")} == pytest.approx(
        {name: same[name] for name in ("value", "low", "high", "se", "df")}
    )


def test_architectures_are_compared_on_the_same_images(data: ClaimData) -> None:
    terms = [(1.0, "net-c", "gradcam"), (-0.5, "net-a", "gradcam"), (-0.5, "net-b", "gradcam")]
    row = one(data, claim_test(terms, side="below")).iloc[0]
    rows = data.scores(["saliency_score"])
    mean = rows[rows["method"] == "gradcam"].groupby("arch")["value"].mean()
    assert row["value"] == pytest.approx(mean["net-c"] - (mean["net-a"] + mean["net-b"]) / 2)
    assert (row["verdict"], row["n_images"], row["n_groups"]) == ("supported", 40, 20)


def test_localization_is_compared_across_architectures_on_a_common_grid(data: ClaimData) -> None:
    """Finer maps hit small evidence better, so scores of a common grid are used where a study has them."""
    rows = data.scores(["saliency_score"])
    coarse = rows.assign(variant="common-grid", value=rows["value"] - 0.1 * (rows["arch"] == "net-a"))
    both = replace(data, scores=lambda metrics: pd.concat([rows, coarse], ignore_index=True))
    terms = [(1.0, "net-a", "gradcam"), (-1.0, "net-b", "gradcam")]
    native, common = (one(where, claim_test(terms))["value"].item() for where in (data, both))
    assert common == pytest.approx(native - 0.1)
    alone = [one(where, claim_test(GRADCAM_OVER_GRID))["value"].item() for where in (data, both)]
    assert alone[0] == alone[1], "within an architecture the map's own grid counts"


def test_each_variant_and_each_class_count_as_asked(data: ClaimData) -> None:
    terms = [(1.0, "net-a", "gradcam"), (-1.0, "net-a", "shuffled-gradcam")]
    every = one(data, claim_test(terms, metric="faith", variant="all"))
    assert (list(every["variant"]), set(every["case"])) == (["black", "blur"], {"net-a"})
    accuracy = claim_test([(1.0, "net-a", "")], quantity="classification", metric="accuracy", margin=0.3)
    cases = one(data, accuracy, claim_test(terms, metric="faith", variant="each"), over="any")
    assert sorted(zip(cases["case"], cases["metric"], strict=True)) == [
        ("net-a, black", "accuracy"), ("net-a, black", "faith"), ("net-a, blur", "accuracy"), ("net-a, blur", "faith"),
    ]  # fmt: skip
    by_class = one(data, claim_test(GRADCAM_OVER_GRID, by_class=True))
    assert set(by_class["label"]) == {"benign", "malignant"}, "no normal image has evidence"
    assert one(data, claim_test(GRADCAM_OVER_GRID, metric="faith", variant="blur"))["variant"].tolist() == ["blur"]


def test_only_correct_images_count_where_the_claim_says_so(data: ClaimData) -> None:
    row = one(data, claim_test([(1.0, "net-a", "gradcam")], images="correct")).iloc[0]
    rows = data.scores(["saliency_score"]).query("arch == 'net-a' and method == 'gradcam' and correct")
    assert row["value"] == pytest.approx(rows.groupby("seed")["value"].mean().mean())


def test_images_with_several_objects_are_those_of_the_manifest(data: ClaimData) -> None:
    test = claim_test([(1.0, "net-a", "gradcam")], images="several")
    several = {f"i{number}-0" for number in range(1, 30)}
    row = one(replace(data, several=several), test).iloc[0]
    rows = data.scores(["saliency_score"]).query("arch == 'net-a' and method == 'gradcam'")
    rows = rows[rows["image_id"].isin(several)]
    assert row["value"] == pytest.approx(rows.groupby("seed")["value"].mean().mean())
    assert one(data, test)["why"].tolist() == ["the manifest counts several objects in no image"]


def test_agreement_is_compared_with_its_chance_level(data: ClaimData) -> None:
    terms = [ClaimTerm(1.0, "net-a", "gradcam", "pairs"), ClaimTerm(-1.0, "net-a", "gradcam", "between-images")]
    test = replace(claim_test([], metric="consist", margin=0.4, side="below", by_class=True), terms=terms)
    table = one(data, test)
    assert set(table["label"]) == set(CLASSES)
    assert table["value"].between(0.1, 0.3).all()
    assert set(table["verdict"]) == {"supported"}


def test_the_slope_is_that_of_least_squares(data: ClaimData) -> None:
    row = one(data, claim_test([(1.0, "net-a", "saliency")], quantity="slope", side="below")).iloc[0]
    rows = data.scores(["saliency_score"]).query("arch == 'net-a' and method == 'saliency' and status == 'ok'")
    sure = data.predictions.assign(x=data.predictions[[f"calibrated_{name}" for name in CLASSES]].max(axis=1))
    joined = rows.merge(sure[["arch", "seed", "image_id", "x"]], on=["arch", "seed", "image_id"])
    slopes, without = [], []
    for _, own in joined.groupby("seed"):
        slopes.append(np.polyfit(own["x"], own["value"], 1)[0])
        rest = [own[own["group"] != group] for group in sorted(set(own["group"]))]
        without.append([np.polyfit(part["x"], part["value"], 1)[0] for part in rest])
    assert row["value"] == pytest.approx(np.mean(slopes))
    change = (np.array(without) - np.array(slopes)[:, None]).mean(axis=0)
    over_groups = (len(change) - 1) / len(change) * (change**2).sum()
    assert row["se"] ** 2 >= over_groups * (1 - 1e-9)
    one_seed = ClaimData(**{**vars(data), "scores": lambda metrics: data.scores(metrics).query("seed == 0")})
    alone = one(one_seed, claim_test([(1.0, "net-a", "saliency")], quantity="slope")).iloc[0]
    first = np.array(without[0]) - slopes[0]
    assert alone["se"] == pytest.approx(sqrt((len(first) - 1) / len(first) * (first**2).sum()))
    assert np.isnan(slope(np.array([4.0, 2.0, 3.0, 1.0, 1.5]))), "one probability has no slope"


def test_the_spread_is_the_log_ratio_of_standard_deviations(data: ClaimData) -> None:
    terms = [(1.0, "net-a", "gradcam"), (-1.0, "net-b", "gradcam")]
    row = one(data, claim_test(terms, quantity="spread")).iloc[0]
    rows = data.scores(["saliency_score"]).query("method == 'gradcam' and status == 'ok'")
    spread = rows.groupby(["arch", "seed"])["value"].std(ddof=0).map(np.log).groupby("arch").mean()
    assert row["value"] == pytest.approx(spread["net-a"] - spread["net-b"])
    assert row["low"] < row["value"] < row["high"]
    assert log_spread(np.array([2.0, 4.0, 10.0]), np.array([1.0])) == pytest.approx(0.0), "1 and 3: a deviation of 1"


def test_the_share_of_errors_between_two_classes_is_counted(data: ClaimData) -> None:
    test = claim_test(
        [(1.0, "net-a", "")], quantity="error_share", metric="", rivals=["benign", "malignant"], margin=0.5
    )
    row, shares = one(data, test).iloc[0], []
    for seed in SEEDS:
        own = data.predictions[(data.predictions["arch"] == "net-a") & (data.predictions["seed"] == seed)]
        wrong = own[own["label"] != own["predicted"]]
        shares.append(
            np.mean(
                [{a, b} == {"benign", "malignant"} for a, b in zip(wrong["label"], wrong["predicted"], strict=True)]
            )
        )
    assert row["value"] == pytest.approx(np.mean(shares))
    assert row["verdict"] in {"undecided", "refuted"}


def test_win_rates_rates_and_correlations_are_those_of_their_modules(data: ClaimData) -> None:
    rows = data.scores(["saliency_score"]).query("arch == 'net-a' and method in ['gradcam', 'saliency', 'layercam']")
    rates = estimate_winrates([rows.reset_index(drop=True)], (), data.better, rule=data.rule).query(
        "method == 'gradcam' and measure == 'win_rate' and by == ''"
    )
    won = claim_test([(1.0, "net-a", "gradcam")], quantity="win_rate", rivals=["saliency", "layercam"], margin=0.5)
    assert one(data, won)["value"].item() == pytest.approx(rates["value"].item())
    rate = one(
        data, claim_test([(1.0, "net-b", "")], quantity="classification", metric="balanced_accuracy", margin=0.9)
    )
    table = data.classification
    same = table[
        (table["arch"] == "net-b") & (table["metric"] == "balanced_accuracy") & (table["class"] == ALL_CLASSES)
    ]
    assert rate[["value", "low", "high"]].to_numpy() == pytest.approx(same[["value", "low", "high"]].to_numpy())
    metrics = ["road", "average_drop", "saliency_score"]
    wide = scores_by_image([data.scores(metrics)], data.better)
    found = rank_agreement_with_truth(wide, ["saliency_score"], CONTROLS, "average_drop", data.rule).query(
        "view == 'image' and arch == '' and who == 'methods' and metric == 'road' and measure == 'spearman minus average_drop'"
    )
    correlated = claim_test(
        [], quantity="correlation", metric="road", against_metric="average_drop", truth="saliency_score"
    )
    assert one(data, correlated)["value"].item() == pytest.approx(found["value"].item())
    fooled = controls_that_fool(scores_by_image([data.scores(["road"])], data.better), CONTROLS, data.rule).query(
        "arch == '' and who == 'half' and measure == 'over the median'"
    )
    control = one(data, claim_test([], quantity="fooled", metric="road", rivals=["half"]))
    assert control[["value", "low", "high"]].to_numpy() == pytest.approx(fooled[["value", "low", "high"]].to_numpy())


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (["supported", "supported"], "supported"),
        (["supported", "undecided"], "undecided"),
        (["supported", "not testable"], "not testable"),
        (["refuted", "not testable"], "refuted"),
    ],
)
def test_a_case_needs_all_its_numbers(numbers: list[str], expected: str) -> None:
    assert decide_case(numbers, [False, False]) == expected


AT = float("nan")  # the margin is the number itself


@pytest.mark.parametrize(
    ("margins", "over", "expected"),  # Grad-CAM minus random-grid is about 0.35 on every network
    [
        ((0.2, 0.2, 0.2), "all", "supported"),
        ((0.2, 0.2, AT), "all", "undecided"),
        ((0.2, 0.2, 0.6), "all", "refuted"),
        ((0.2, 0.2, 0.6), "most", "supported"),
        ((0.2, 0.6, 0.6), "most", "refuted"),
        ((0.2, AT, 0.6), "most", "undecided"),
        ((0.2, 0.6, 0.6), "any", "supported"),
        ((0.6, 0.6, 0.6), "any", "refuted"),
        ((AT, 0.6, 0.6), "any", "undecided"),
    ],
)
def test_a_claim_holds_in_as_many_cases_as_it_names(
    data: ClaimData, margins: tuple[float, ...], over: str, expected: str
) -> None:
    tests = [
        claim_test([(1.0, arch, "gradcam"), (-1.0, arch, "random-grid")], case=arch, margin=margin)
        for arch, margin in zip(ARCHS, margins, strict=True)
    ]
    values = one(data, *(replace(test, margin=0.0) for test in tests))["value"]
    numbers = zip(tests, values, strict=True)
    tests = [replace(test, margin=value) if np.isnan(test.margin) else test for test, value in numbers]
    table = one(data, *tests, over=over)
    assert set(table["verdict"]) == {expected}
    assert (table["decides"].sum(), table["n_cases"].iloc[0]) == (1, 3)
    (deciding,) = table.loc[table["decides"], "number_verdict"]
    assert deciding == expected, "the number that decides agrees with the claim"


def test_the_ends_of_intervals_share_the_error_of_the_claim(data: ClaimData) -> None:
    tests = [claim_test([(1.0, arch, "gradcam")], case=arch) for arch in ARCHS]
    levels = {
        over: one(data, *tests, over=over)[["level_low", "level_high"]].iloc[0].tolist()
        for over in ("all", "most", "any")
    }
    assert levels == {
        "all": pytest.approx([1 - 0.05, 1 - 0.05 / 3]),
        "most": pytest.approx([1 - 0.05 / 2, 1 - 0.05 / 2]),
        "any": pytest.approx([1 - 0.05 / 3, 1 - 0.05]),
    }
    below = one(data, claim_test([(1.0, "net-a", "gradcam")], side="below", case="a"), *tests[1:])
    assert below[["level_low", "level_high"]].iloc[0].tolist() == pytest.approx([1 - 0.05 / 3, 1 - 0.05])


def test_a_claim_without_numbers_says_why() -> None:
    few = claim_data(groups=6)
    row = one(few, claim_test(GRADCAM_OVER_GRID)).iloc[0]
    assert (row["verdict"], row["number_verdict"]) == ("not testable", "not testable")
    assert row["why"] == "4 groups, an interval needs 8"
    absent = one(few, claim_test([(1.0, "net-a", "no-such-method")])).iloc[0]
    assert (absent["verdict"], absent["why"]) == (
        "not testable",
        "no image has a value of saliency_score for no-such-method on net-a",
    )
    missing = one(few, missing="the study has no metric iou").iloc[0]
    assert (missing["verdict"], missing["why"]) == ("not testable", "the study has no metric iou")
    assert evaluate_claims([], few).empty


def test_the_range_of_a_weighted_sum() -> None:
    assert range_of_sum(Bounds(0, 1), np.array([1.0, -1.0])) == Bounds(-1, 1)
    assert range_of_sum(Bounds(-1, 1), np.array([1.0, -0.5, -0.5])) == Bounds(-2, 2)
    assert range_of_sum(Bounds(0, np.inf), np.array([1.0])) == Bounds(0, np.inf)
    assert range_of_sum(Bounds(0, np.inf), np.array([1.0, -1.0])) == Bounds()


def test_a_number_that_does_not_exist_leaves_its_case_open(data: ClaimData) -> None:
    """Half of the evidence is no support: the second opponent has no maps."""
    known = claim_test(GRADCAM_OVER_GRID, condition="gradcam minus random-grid", margin=0.1)
    unknown = claim_test([(1.0, "net-a", "gradcam"), (-1.0, "net-a", "lime")], condition="gradcam minus lime")
    assert set(one(data, known)["verdict"]) == {"supported"}
    table = one(data, known, unknown)
    assert set(table["verdict"]) == {"not testable"}
    assert dict(zip(table["condition"], table["number_verdict"], strict=True)) == {
        "gradcam minus random-grid": "supported", "gradcam minus lime": "not testable",
    }  # fmt: skip
    assert "no image has a value of saliency_score for lime on net-a" in table["why"].iloc[0]


def test_a_claim_is_not_tested_on_a_network_that_does_not_classify(data: ClaimData) -> None:
    """net-a and net-b stay above the least balanced accuracy, net-c does not: `most` of three can still be decided."""
    rates = data.classification
    own = (rates["metric"] == "balanced_accuracy") & (rates["class"] == ALL_CLASSES)
    low = replace(data, classification=rates.assign(value=rates["value"].mask(own & (rates["arch"] == "net-c"), 0.41)))
    tests = [claim_test([(1.0, arch, "gradcam"), (-1.0, arch, "random-grid")], case=arch) for arch in ARCHS]
    apart = claim_test([(1.0, "net-a", "gradcam"), (-1.0, "net-c", "gradcam")], case="net-a minus net-c")
    rate = claim_test(
        [(1.0, "net-c", "")], case="net-c", quantity="classification", metric="balanced_accuracy", margin=0.9
    )
    for found, verdict in (
        (evaluate_claims([claim(*tests, over="most")], low, 0.5), "supported"),
        (evaluate_claims([claim(*tests)], low, 0.5), "not testable"),
        (evaluate_claims([claim(apart)], low, 0.5), "not testable"),
        (evaluate_claims([claim(apart)], low), "supported"),
        (evaluate_claims([claim(rate)], low, 0.5), "refuted"),
    ):
        assert set(found["verdict"]) == {verdict}
    table = evaluate_claims([claim(*tests)], low, 0.5).set_index("case")
    assert table.loc["net-c", "reason"] == "balanced accuracy of net-c: 0.41, below 0.5"
    assert table.loc["net-c", "why"] == table.loc["net-c", "reason"]
    assert table.loc["net-a", "case_verdict"] == "supported"
    assert pd.isna(table.loc["net-c", "low"])
