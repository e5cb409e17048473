"""The metrics judged: rank correlations by hand, a slow twin of every number, and controls that fool what they should."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import small_meta
from hypothesis import given, settings
from hypothesis import strategies as st
from mean_interval import mean_interval
from whole_scores import agreement_of, fooled_by
from winrate_tables import score_rows

from gradfaith.stats.interval_scales import CORRELATION
from gradfaith.stats.rank_agreement import COEFFICIENTS, pearson, spearman, tied_ranks

METHODS, CONTROLS = "ABCD", ["centre", "uniform"]
TRUTH = np.array([[4.0, 3, 2, 1], [4, 3, 2, 1], [1, 2, 3, 4]])  # images by methods
METRIC = np.array([[40.0, 30, 20, 10], [40, 30, 10, 20], [5, 5, 5, 5]])
# Image 1: the same order, 1. Image 2: the last two exchanged, 1 - 6 * 2 / (4 * 15). Image 3: all level, no rank.
BY_IMAGE = [1.0, 0.8]
BETTER = {"overlap": "higher", "score": "higher", "drop": "lower", "share": "neither"}


def both(
    truth: np.ndarray = TRUTH, metric: np.ndarray = METRIC, methods: str = METHODS, name: str = "score"
) -> pd.DataFrame:
    return pd.concat([score_rows(truth, methods), score_rows(metric, methods, metric=name)], ignore_index=True)


def found(table: pd.DataFrame, **where: str) -> pd.Series:
    """The one row."""
    where = {
        "view": "image",
        "arch": "net",
        "who": "methods",
        "measure": "spearman",
        "metric": "score",
        "variant": "",
        **where,
    }
    own = table[np.logical_and.reduce([table[name] == value for name, value in where.items()])]
    assert len(own) == 1
    return own.iloc[0]


def test_the_order_of_methods_by_hand():
    row = found(agreement_of(both(), ["overlap"], BETTER, []))
    assert row["value"] == pytest.approx(np.mean(BY_IMAGE))
    assert (row["n_images"], row["n_undefined"], row["n_methods"], row["n_wrong"]) == (2, 1, 4, 0)
    assert row["reason"] == "2 groups, an interval needs 8"


def test_over_cells_it_is_the_means_that_are_correlated():
    row = found(agreement_of(both(), ["overlap"], BETTER, []), view="cells", measure="pearson")
    assert row["value"] == pytest.approx(np.corrcoef(TRUTH.mean(axis=0), METRIC.mean(axis=0))[0, 1])
    assert (row["n_images"], row["n_undefined"], row["n_methods"]) == (3, 0, 4)


def test_where_lower_is_better_the_metric_is_turned_round():
    turned = agreement_of(both(metric=-METRIC, name="drop"), ["overlap"], BETTER, [])
    for view in ("image", "cells"):
        assert (
            found(turned, metric="drop", view=view)["value"]
            == found(agreement_of(both(), ["overlap"], BETTER, []), view=view)["value"]
        )


def test_a_metric_without_a_better_end_and_the_truth_itself_are_not_judged():
    frame = pd.concat([both(), score_rows(METRIC, METHODS, metric="share")], ignore_index=True)
    assert set(agreement_of(frame, ["overlap"], BETTER, [])["metric"]) == {"score"}
    assert set(fooled_by(frame, BETTER, ["A"])["metric"]) == {"overlap", "score"}


def test_only_images_that_the_model_gets_right_and_that_have_evidence_take_part():
    frame = both()
    frame["correct"] = frame["image_id"] != "i1"
    frame.loc[(frame["image_id"] == "i2") & (frame["metric"] == "overlap"), ["value", "status"]] = [np.nan, "undefined"]
    row = found(agreement_of(frame, ["overlap"], BETTER, []))
    assert (row["value"], row["n_images"], row["n_undefined"], row["n_wrong"]) == (1.0, 1, 0, 1)


def test_methods_and_controls_are_ranked_apart_and_together():
    truth = np.column_stack([TRUTH, np.tile([0.1, 0.2, 0.3], (3, 1))])
    metric = np.column_stack([METRIC, np.tile([3, 2, 1], (3, 1))])
    frame = both(truth, metric, ["A", "B", "C", "D", "centre", "uniform", "shuffled-A"])
    table = agreement_of(frame, ["overlap"], BETTER, CONTROLS)
    assert found(table)["value"] == pytest.approx(np.mean(BY_IMAGE)), "controls leave the methods' rank alone"
    assert found(table, who="controls")["value"] == pytest.approx(-1)
    together = found(table, who="together")
    assert together["n_methods"] == 7
    assert together["value"] == pytest.approx(
        np.mean([scipy.stats.spearmanr(t, m).statistic for t, m in zip(truth, metric, strict=True)])
    )


def test_fewer_than_three_methods_cannot_be_ranked():
    row = found(agreement_of(both(TRUTH[:, :2], METRIC[:, :2], "AB"), ["overlap"], BETTER, []))
    assert np.isnan(row["value"])
    assert (row["n_images"], row["n_undefined"]) == (0, 3)
    assert row["reason"]


def test_two_metrics_are_compared_on_the_same_images():
    frame = pd.concat([both(), score_rows(TRUTH, METHODS, metric="drop")], ignore_index=True)
    table = agreement_of(frame, ["overlap"], BETTER, [], against="score")
    own = found(table, metric="drop", measure="spearman minus score")
    assert own["value"] == pytest.approx(np.mean([-1 - r for r in BY_IMAGE]))
    assert (own["n_images"], own["n_undefined"]) == (2, 1)


seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, places=st.integers(3, 9))
def test_coefficients_are_scipys(seed, places):
    draw = np.random.default_rng(seed)
    x, t = draw.integers(0, 4, (2, 6, places)) / 4.0
    for row in range(6):
        level = np.ptp(x[row]) == 0 or np.ptp(t[row]) == 0
        for name, peer in (("spearman", scipy.stats.spearmanr), ("pearson", scipy.stats.pearsonr)):
            own = COEFFICIENTS[name](x, t)[row]
            assert np.isnan(own) if level else own == pytest.approx(peer(x[row], t[row]).statistic, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_a_missing_number_leaves_its_method_out_on_both_sides(seed):
    x, t = np.random.default_rng(seed).normal(size=(2, 7))
    x[2], t[5] = np.nan, np.nan
    there = [0, 1, 3, 4, 6]
    for coefficient in (spearman, pearson):
        assert coefficient(x, t) == pytest.approx(coefficient(x[there], t[there]))


def test_ranks_share_places_where_numbers_differ_by_rounding():
    assert tied_ranks(np.array([0.3, 0.1, 0.3 + 1e-8, np.nan])).tolist()[:3] == [2.5, 1, 2.5]


@pytest.fixture(scope="module")
def drawn() -> pd.DataFrame:
    images = pd.DataFrame(
        [(f"{g}-{s}", f"g{g}", ("normal", "benign", "malignant")[g % 3]) for g in range(30) for s in range(1 + g % 2)],
        columns=["image_id", "group", "label"],
    )
    return small_meta.scores(images, ["a", "b"], [0, 1])


def literal(frame: pd.DataFrame, metric: str, variant: str, sign: int) -> pd.DataFrame:
    """A Spearman per image of a model, method by method, from the rows."""
    rows = []
    right = frame[frame["correct"].astype(bool) & (frame["status"] == "ok")]
    for (arch, seed, image, group), own in right.groupby(["arch", "seed", "image_id", "group"]):
        truth = own[own["metric"] == "saliency_score"].set_index("method")["value"]
        other = own[(own["metric"] == metric) & (own["variant"] == variant)].set_index("method")["value"]
        names = [name for name in small_meta.METHODS if name in truth.index and name in other.index]
        if len(names) >= 3:
            rows.append((arch, seed, image, group, scipy.stats.spearmanr(truth[names], sign * other[names]).statistic))
    return pd.DataFrame(rows, columns=["arch", "seed", "image_id", "group", "value"])


@pytest.mark.parametrize(("metric", "variant", "sign"), [("road", "black", 1), ("deletion", "noisy_linear", -1)])
def test_every_number_and_interval_is_the_slow_twins(drawn, metric, variant, sign):
    table = agreement_of(drawn, ["saliency_score"], small_meta.BETTER, list(small_meta.CONTROLS))
    twin = literal(drawn, metric, variant, sign)
    for arch in ("a", "b", ""):
        own = (
            twin[twin["arch"] == arch]
            if arch
            else twin.groupby(["seed", "image_id", "group"], as_index=False)["value"].mean()
        )
        row = found(table, metric=metric, variant=variant, arch=arch)
        slow = mean_interval(own["value"], list(own["group"]), list(own["seed"]), bounds=CORRELATION)
        assert row[["value", "low", "high"]].tolist() == pytest.approx([slow.mean, slow.low, slow.high])
        assert (row["n_images"], row["n_groups"], row["n_seeds"]) == (own["image_id"].nunique(), slow.n_groups, 2)


def test_over_cells_each_group_is_left_out_of_all_means_at_once(drawn):
    """With one seed: V = (G - 1)/G sum of squared changes, each change from scratch."""
    one = drawn[(drawn["seed"] == 0) & drawn["metric"].isin(["saliency_score", "road"])]
    row = found(agreement_of(one, ["saliency_score"], small_meta.BETTER, list(small_meta.CONTROLS)),
                view="cells", metric="road", variant="black", arch="", measure="pearson")  # fmt: skip
    right = one[one["correct"].astype(bool) & (one["status"] == "ok") & one["method"].isin(list(small_meta.METHODS))]
    wide = right[right["metric"] == "saliency_score"].merge(
        right[(right["metric"] == "road") & (right["variant"] == "black")], on=["arch", "method", "image_id", "group"]
    )

    def r(rows: pd.DataFrame) -> float:
        means = rows.groupby(["arch", "method"])[["value_x", "value_y"]].mean()
        return float(np.corrcoef(means["value_x"], means["value_y"])[0, 1])

    groups = wide["group"].unique()
    changes = np.array([r(wide[wide["group"] != group]) - r(wide) for group in groups])
    assert row["value"] == pytest.approx(r(wide))
    assert row["se"] == pytest.approx(np.sqrt((len(groups) - 1) / len(groups) * (changes**2).sum()))
    assert row["n_groups"] == len(groups)


def test_the_truth_ranks_like_itself_and_noise_does_not(drawn):
    table = agreement_of(drawn, ["cosine"], small_meta.BETTER, list(small_meta.CONTROLS))
    good, bad = (
        found(table, metric=name, variant=variant, arch="")
        for name, variant in (("saliency_score", ""), ("average_drop", "black"))
    )
    assert good["low"] > 0.5 > bad["value"]


# controls that fool a metric
def control(table: pd.DataFrame, who: str, measure: str = "over the median", **where: str) -> pd.Series:
    return found(table, view="controls", who=who, measure=measure, **where)


def test_a_control_over_the_median_and_the_best_by_hand():
    wobble = np.tile([-0.5, 0.0, 0.5], 3)  # gains that are all the same have no interval
    values = np.column_stack([np.arange(9.0) + above for above in (0, 2, 4, 3 + wobble, 5 + wobble)])
    table = fooled_by(score_rows(values, ["A", "B", "C", "centre", "uniform"], metric="score"), BETTER, CONTROLS)
    centre, uniform = (control(table, who) for who in CONTROLS)
    assert (centre["value"], uniform["value"]) == (1, 3)
    assert centre["fooled"]
    over = control(table, "centre", "over the best")
    assert (over["value"], over["fooled"]) == (-1, False)
    assert control(table, "uniform", "over the best")["fooled"]
    assert (
        control(table, "centre", "beats the median")["value"],
        control(table, "centre", "beats the best")["value"],
    ) == (1, 0)


def test_a_control_that_is_level_is_a_draw_and_fools_nobody():
    values = np.column_stack([np.arange(9.0), np.arange(9.0), np.arange(9.0) + 1e-8])
    table = fooled_by(score_rows(values, ["A", "B", "centre"], metric="score"), BETTER, CONTROLS)
    assert control(table, "centre", "beats the median")["value"] == 0.5
    assert control(table, "centre")["value"] == 0
    assert not table["fooled"].any()


def test_below_eight_groups_nothing_is_called_fooled():
    table = fooled_by(score_rows(np.array([[0.0, 1, 9]] * 4), ["A", "B", "centre"], metric="score"), BETTER, CONTROLS)
    row = control(table, "centre")
    assert row["value"] == 8.5
    assert not row["fooled"]
    assert row["reason"] == "4 groups, an interval needs 8"


def test_a_metric_that_cannot_tell_a_map_from_its_shuffle_is_neither_fooled_nor_right():
    """Complexity, say. Of the mean of 0.1, 0.4 and 0.45 the median method would be 0.08 away, whoever points where."""
    values = np.array([[0.1, 0.4, 0.45] * 2] * 9)
    names = ["A", "B", "C", "shuffled-A", "shuffled-B", "shuffled-C"]
    table = fooled_by(score_rows(values, names, metric="score"), BETTER, [])
    assert set(table["who"]) == {"shuffled"}
    for against in ("median", "best"):
        assert control(table, "shuffled", f"over the {against}")["value"] == 0
        assert control(table, "shuffled", f"beats the {against}")["value"] == 0.5
    assert not table["fooled"].any()


def test_over_the_best_a_shuffled_map_is_the_best_method_s_own():
    table = fooled_by(
        score_rows(np.array([[1.0, 3, 4, 2]] * 9), ["A", "B", "shuffled-A", "shuffled-B"], metric="score"), BETTER, []
    )
    assert control(table, "shuffled")["value"] == 1, "the median of 4 and 2, less that of 1 and 3"
    assert control(table, "shuffled", "over the best")["value"] == -1, "B's shuffled map, less B"


def test_architectures_are_averaged_over_the_images_that_all_of_them_have():
    """Two of three images on one of them; the third would make the mean mostly the other's."""
    first, second = both(), both().assign(arch="other")
    second.loc[(second["metric"] == "score") & (second["image_id"] == "i1"), "value"] = np.nan
    second["status"] = np.where(second["value"].isna(), "undefined", "ok")
    row = found(agreement_of(pd.concat([first, second], ignore_index=True), ["overlap"], BETTER, []), arch="")
    assert (row["value"], row["n_images"], row["n_undefined"]) == (pytest.approx(BY_IMAGE[0]), 1, 2)


def test_over_cells_a_method_counts_once_and_a_cell_without_numbers_is_counted():
    first, second = both(), both().assign(arch="other", layer="another")
    second.loc[(second["metric"] == "score") & (second["method"] == "D"), "status"] = "undefined"
    table = agreement_of(pd.concat([first, second], ignore_index=True), ["overlap"], BETTER, [])
    row = found(table, view="cells", arch="")
    assert (row["n_methods"], row["n_undefined"]) == (4, 1)


def test_a_map_without_a_value_is_counted_and_not_compared():
    values = np.array([[1.0, 3, 4]] * 9)
    values[2, 2] = np.nan
    row = control(fooled_by(score_rows(values, ["A", "B", "centre"], metric="score"), BETTER, CONTROLS), "centre")
    assert (row["value"], row["n_images"], row["n_undefined"]) == (2, 8, 1)


def test_average_drop_is_fooled_by_the_uniform_map_and_the_truth_by_none(drawn):
    table = fooled_by(drawn, small_meta.BETTER, list(small_meta.CONTROLS))
    for arch, metric in product(("a", "b", ""), ("average_drop", "saliency_score", "road")):
        own = table[(table["arch"] == arch) & (table["metric"] == metric)]
        assert set(own.loc[own["fooled"], "who"]) == ({"uniform"} if metric == "average_drop" else set())
