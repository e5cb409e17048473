"""Estimates and contrasts: nothing is dropped, copies do not count twice, and a planted difference is found."""

import itertools
import time

import numpy as np
import pandas as pd
import pytest
from mean_interval import mean_interval
from whole_scores import contrasts_of

from gradfaith import rng
from gradfaith.errors import BrokenTable
from gradfaith.stats.comparisons import is_comparable, method_pairs
from gradfaith.stats.estimates import SCORE_COLUMNS, estimate_scores
from gradfaith.stats.interval_scales import Bounds, IntervalRule
from gradfaith.stats.simultaneous import FamilySums, simultaneous_intervals
from gradfaith.stats.winrates import estimate_winrates
from gradfaith.storage import parquet
from gradfaith.storage.parquet import SCORES

KEY = ["arch", "method", "metric", "variant"]


def scores(key, methods, patients=12, slices=3, seeds=(0, 1), archs=("net",), metrics=("locacc",), gain=0.0):
    """Score rows; `methods`: name -> (copies, what it adds). Images differ more than methods do, as in life."""
    noise, frames = rng.generator("scores", key), []
    n = patients * slices
    patient = np.arange(n) // slices
    about = pd.DataFrame({"image_id": [f"i{k}" for k in range(n)], "group": [f"p{k}" for k in patient]}).assign(
        label=[f"c{k % 2}" for k in patient], target="predicted", variant="", status="ok", reason=""
    )
    image = noise.normal(size=n) + np.repeat(noise.normal(size=patients), slices)
    for arch, metric, seed, (method, (copies, adds)) in itertools.product(archs, metrics, seeds, methods.items()):
        what = {
            "arch": arch,
            "seed": seed,
            "arch2": "",
            "seed2": pd.NA,
            "method": method,
            "layer": "top",
            "metric": metric,
        }
        for copy in range(copies):
            frames.append(about.assign(**what, copy=copy, value=image + adds + 0.3 * noise.normal(size=n)))
    return pd.concat(frames, ignore_index=True).astype({"seed2": "Int64"})


def spoil(table, rows, status):
    table.loc[rows, ["value", "status", "reason"]] = [np.nan, status, "spoilt"]
    return table


METHODS = {"gradcam": (1, 0.5), "random-grid": (1, 0.0), "centre": (1, 0.4), "shuffled-gradcam": (5, 0.0)}


def test_a_cell_is_the_interval_of_its_own_rows():
    table = scores("cell", METHODS, archs=("a", "b"))
    found = estimate_scores([table]).set_index(["arch", "method"])
    own = table[(table["arch"] == "b") & (table["method"] == "gradcam")]
    twin = mean_interval(own["value"], own["group"].to_numpy(), own["seed"].to_numpy())
    row = found.loc[("b", "gradcam")]
    assert np.allclose(
        row[["value", "low", "high", "df"]].astype(float), [twin.mean, twin.low, twin.high, twin.df], rtol=1e-12
    )
    assert (row["n_images"], row["n_groups"], row["n_seeds"], row["seeds"], row["n_ok"]) == (36, 12, 2, "0 1", 72)


def test_every_score_is_counted_under_its_status():
    table = scores("status", METHODS)
    noise = rng.generator("spoil")
    for status, rows in zip(
        ["undefined", "degenerate", "failed"], noise.permutation(len(table))[:60].reshape(3, 20), strict=True
    ):
        spoil(table, rows, status)
    found = estimate_scores([table], by=["label"])
    counts = [f"n_{status}" for status in ("ok", "undefined", "degenerate", "failed")]
    for by in ("", "label"):
        assert found.loc[found["by"] == by, counts].sum().tolist() == [len(table) - 60, 20, 20, 20]


def test_a_cell_where_nothing_is_ok_stays_in_the_table_with_its_reason():
    table = scores("nothing", METHODS)
    row = estimate_scores([spoil(table, table["method"] == "centre", "undefined")]).set_index("method").loc["centre"]
    assert (row["n_ok"], row["n_undefined"], row["n_images"], row["reason"]) == (0, 72, 0, "no image has a value")
    assert np.isnan(row["value"])


def test_copies_are_averaged_within_an_image_before_anything_else():
    table = scores("copies", METHODS)
    shuffled = table[table["method"] == "shuffled-gradcam"]
    spoil(table, shuffled.index[:7], "failed")
    mean = (
        table[table["status"] == "ok"].groupby(["method", "seed", "image_id", "group"], as_index=False)["value"].mean()
    )
    own = mean[mean["method"] == "shuffled-gradcam"]
    twin = mean_interval(own["value"], own["group"].to_numpy(), own["seed"].to_numpy())
    row = estimate_scores([table]).set_index("method").loc["shuffled-gradcam"]
    assert (row["value"], row["se"]) == (pytest.approx(twin.mean), pytest.approx(twin.se))
    assert (row["n_ok"], row["n_failed"], row["n_images"]) == (353, 7, 36)


def test_strata_are_estimated_apart_and_an_image_without_one_is_in_none():
    table = scores("strata", METHODS)
    table["size"] = np.where(table["label"] == "c0", "small", None)
    found = estimate_scores([table], by=["label", "size"])
    assert set(zip(found["by"], found["stratum"], strict=True)) == {
        ("", "all"),
        ("label", "c0"),
        ("label", "c1"),
        ("size", "small"),
    }
    small, c0 = (found[found["stratum"] == name].set_index("method") for name in ("small", "c0"))
    pd.testing.assert_series_equal(small["value"], c0["value"])
    assert (small["reason"] == "6 groups, an interval needs 8").all()
    assert np.isfinite(estimate_scores([table], by=["size"], rule=IntervalRule(min_groups=6))["low"]).all()


def test_order_of_rows_and_names_of_groups_do_not_matter():
    table = scores("order", METHODS)
    other = table.sample(frac=1, random_state=0)
    other["group"] = "x" + other["group"].str[::-1]
    numbers = ["value", "low", "high", "df"]
    one, two = (estimate_scores([t]).set_index(KEY)[numbers] for t in (table, other))
    pd.testing.assert_frame_equal(one, two.loc[one.index], rtol=1e-9)


def test_pairs_of_seeds_are_runs_and_their_seeds_are_counted_once():
    noise, rows = rng.generator("pairs"), []
    for first, second in [(0, 1), (0, 2), (1, 2)]:
        rows += [("net", first, "net", second, f"i{k}", f"p{k // 2}", noise.normal(), "ok") for k in range(20)]
    table = pd.DataFrame(rows, columns=["arch", "seed", "arch2", "seed2", "image_id", "group", "value", "status"])
    row = estimate_scores([table.assign(metric="consist", method="gradcam")]).iloc[0]
    assert (row["n_seeds"], row["seeds"], row["n_images"]) == (3, "0 1 2", 20)
    assert row["interval"] == "t over groups and seeds"
    alone = estimate_scores([table[table["seed2"] == 1].assign(metric="consist", method="gradcam")]).iloc[0]
    assert (alone["n_seeds"], alone["interval"]) == (2, "t over groups")  # given these two models


def test_two_architectures_seed_by_seed_are_as_many_runs_as_there_are_seeds():
    """Leaving a seed out leaves out one model of each side: the interval of single models with these numbers."""
    noise, rows = rng.generator("across"), []
    for seed in range(3):
        rows += [("a", seed, "b", seed, f"i{k}", f"p{k // 2}", seed / 4 + noise.normal(), "ok") for k in range(24)]
    table = pd.DataFrame(rows, columns=["arch", "seed", "arch2", "seed2", "image_id", "group", "value", "status"])
    table = table.assign(metric="consist", method="gradcam")
    row, twin = (
        estimate_scores([table]).iloc[0],
        mean_interval(table["value"], table["group"].to_numpy(), table["seed"].to_numpy()),
    )
    assert (row["n_seeds"], row["seeds"], row["arch2"]) == (3, "0 1 2", "b")
    assert np.allclose([row["value"], row["low"], row["high"]], [twin.mean, twin.low, twin.high], rtol=1e-12)
    other = table.assign(arch2="ensemble", seed2=pd.NA)
    both = estimate_scores([pd.concat([table, other], ignore_index=True)]).set_index("arch2")
    assert np.allclose(both.loc["ensemble", ["low", "high"]].astype(float), [twin.low, twin.high], rtol=1e-12)


def test_agreement_across_architectures_is_described_and_not_tested():
    table = scores("family", METHODS, metrics=("consist",))
    seeds = table.assign(arch2="a", seed2=1, variant="pairs")
    across = [
        table.assign(arch2=arch2, variant=kind) for arch2, kind in (("b", "architectures"), ("ensemble", "ensemble"))
    ]
    both = pd.concat([seeds.assign(arch="a"), *across], ignore_index=True)
    rivals = both[is_comparable(both)]
    assert set(rivals["variant"]) == {"pairs"}
    assert len(rivals) == len(seeds)


@pytest.mark.parametrize("change", [{"status": "fine"}, {"value": np.nan}, {"value": np.inf}])
def test_a_status_that_is_none_and_an_ok_without_a_value_are_refused(change):
    with pytest.raises(BrokenTable):
        estimate_scores([scores("bad", METHODS).assign(**change)])


def test_scores_that_would_count_twice_are_refused():
    table = scores("twice", METHODS)
    with pytest.raises(BrokenTable, match="two scores"):
        estimate_scores([pd.concat([table, table.head(3)])])


def test_an_empty_table_gives_empty_tables():
    table = scores("empty", METHODS).head(0)
    assert len(estimate_scores([table])) == 0
    assert len(contrasts_of(table, ["centre"], {})) == 0


def test_everyone_meets_every_control_and_its_own_shuffles():
    methods = ["gradcam", "layercam", "centre", "random-grid", "shuffled-gradcam", "shuffled-random-grid"]
    assert list(method_pairs(methods, ["centre", "random-grid", "edges"])) == [
        ("gradcam", "centre"), ("gradcam", "random-grid"), ("gradcam", "shuffled-gradcam"),
        ("layercam", "centre"), ("layercam", "random-grid"), ("random-grid", "shuffled-random-grid"),
    ]  # fmt: skip


def test_a_planted_difference_is_found_that_separate_intervals_would_hide():
    table = scores("planted", METHODS)
    whole = estimate_scores([table]).set_index("method")
    assert whole.loc["gradcam", "low"] < whole.loc["random-grid", "high"]  # images differ far more than methods
    found = contrasts_of(table, ["random-grid", "centre"], {"locacc": "higher"}).set_index(["method", "against"])
    for against, truth in [("random-grid", 0.5), ("shuffled-gradcam", 0.5), ("centre", 0.1)]:
        row = found.loc[("gradcam", against)]
        assert row["low"] < truth < row["high"]
        assert row["high"] - row["low"] < 0.5
    assert found.loc[("gradcam", "random-grid"), "low"] > 0
    assert found.loc[("gradcam", "random-grid"), "share_better"] > 0.8


def test_a_contrast_is_the_interval_of_the_differences_and_counts_what_was_lost():
    table = scores("pairs", METHODS)
    of = {name: table[table["method"] == name].index for name in METHODS}
    spoil(table, of["gradcam"][:2], "degenerate")
    spoil(table, of["centre"][1:5], "undefined")
    table = table.drop(of["centre"][10:12])
    wide = (
        table[table["status"] == "ok"]
        .pivot_table(index=["seed", "image_id", "group"], columns="method", values="value")
        .reset_index()
    )
    wide = wide.dropna(subset=["gradcam", "centre"])
    twin = mean_interval(wide["gradcam"] - wide["centre"], wide["group"].to_numpy(), wide["seed"].to_numpy())
    row = contrasts_of(table, ["centre"], {}).set_index(["method", "against"]).loc[("gradcam", "centre")]
    assert np.allclose(row[["value", "low", "high"]].astype(float), [twin.mean, twin.low, twin.high], rtol=1e-10)
    assert row["n_lost"] == 7
    assert np.isnan(row["share_better"])  # nobody said which way is better


def test_better_can_mean_lower_and_ties_are_shared():
    table = scores("ties", {"gradcam": (1, 0), "centre": (1, 0)}, seeds=(0,))
    table["value"] = np.where(table["method"] == "centre", 1.0, np.repeat([0.0, 1.0, 2.0, 0.0], 18)[: len(table)])
    ours = table.loc[table["method"] == "gradcam", "value"]
    lower = contrasts_of(table, ["centre"], {"locacc": "lower"}).iloc[0]["share_better"]
    higher = contrasts_of(table, ["centre"], {"locacc": "higher"}).iloc[0]["share_better"]
    assert lower == pytest.approx(((ours < 1) + (ours == 1) / 2).mean())
    assert lower + higher == pytest.approx(1)


def test_a_control_without_layers_is_matched_by_image_and_one_with_layers_layer_by_layer():
    low = scores("low", METHODS).assign(layer="low")
    top = scores("top", METHODS)
    everywhere = low["method"].isin(["gradcam", "random-grid"])
    table = pd.concat([low[everywhere], top], ignore_index=True)
    table.loc[table["method"] == "centre", "layer"] = ""
    found = contrasts_of(table, ["random-grid", "centre"], {}).set_index(["against", "layer"])["value"]

    def mean(frame, method):
        return frame.loc[frame["method"] == method, "value"].mean()

    assert found["random-grid", "low"] == pytest.approx(mean(low, "gradcam") - mean(low, "random-grid"))
    assert found["random-grid", "top"] == pytest.approx(mean(top, "gradcam") - mean(top, "random-grid"))
    assert found["centre", "low"] == pytest.approx(mean(low, "gradcam") - mean(top, "centre"))


def test_the_primary_contrast_is_marked_and_the_family_adjusted():
    table = scores("primary", METHODS, metrics=("locacc", "faith"))
    named = {"metric": "locacc", "method": "gradcam", "against": "random-grid"}
    found = contrasts_of(table, ["random-grid", "centre"], {}, named)
    assert found.loc[found["primary"], list(named)].to_dict("records") == [named]
    others = found[~found["primary"]]
    assert (others["low_family"] < others["low"]).all()
    assert (others["p_family"] > 0).all()
    assert not contrasts_of(table, ["centre"], {})["primary"].any()
    assert set(found["comparison"]) == {"control"}
    assert set(found["label"]) == {""}  # all images


@pytest.mark.slow
def test_false_alarms_stay_at_five_in_a_hundred():
    """Nothing is planted: the primary contrast's interval leaves out zero one time in twenty."""
    names = {"gradcam": (1, 0.0), "random-grid": (1, 0.0)}
    archs = tuple(f"net{k}" for k in range(400))
    table = scores("null", names, archs=archs, seeds=(0, 1, 2))
    found = contrasts_of(table, ["random-grid"], {})
    assert 0.02 <= ((found["low"] > 0) | (found["high"] < 0)).mean() <= 0.07


@pytest.mark.slow
def test_three_hundred_thousand_scores_take_seconds():
    table = scores(
        "speed",
        METHODS,
        patients=25,
        seeds=(0, 1),
        archs=tuple("abcdefgh"),
        metrics=tuple("abcdefghijklmnopqrstuvwxyz"),
    )
    started = time.process_time()
    assert len(estimate_scores([table])) == 8 * 26 * 4
    assert time.process_time() - started < 10


CONTROLS = ["random-grid", "centre"]


def as_read(table, path):
    """As the rules read it: some columns, texts as categories."""
    parquet.write(path, table.assign(part="test", predicted="c0"), SCORES)
    return parquet.read(path, SCORES), parquet.read_columns(path, SCORES, SCORE_COLUMNS)


def test_texts_as_categories_give_the_same_tables_from_a_fifth_of_the_memory(tmp_path):
    table = scores("categories", METHODS, archs=("net-b", "net-a"), metrics=("locacc", "faith"))
    table["correct"] = np.arange(len(table)) % 3 > 0
    spoil(table, slice(0, 9), "degenerate")
    texts, categories = as_read(table, tmp_path / "scores.parquet")
    better = {"locacc": "higher", "faith": "lower"}
    for estimate in (
        lambda rows: estimate_scores([rows], by=("label",)),
        lambda rows: contrasts_of(rows[is_comparable(rows)], CONTROLS, better),
        lambda rows: estimate_winrates([rows[is_comparable(rows)]], CONTROLS, better, only_correct=True),
    ):
        expected, found = estimate(texts), estimate(categories)
        assert len(expected) > 3
        pd.testing.assert_frame_equal(found.astype(dict(expected.dtypes)), expected, check_exact=True)
    many = pd.concat([table.assign(image_id=f"patient-{n:04d}/slice-0001") for n in range(100)])
    texts, categories = as_read(many, tmp_path / "many.parquet")
    assert categories.memory_usage(deep=True).sum() < texts.memory_usage(deep=True).sum() / 4


# families of contrasts
def family_of(table: pd.DataFrame, **options: object) -> pd.DataFrame:
    return contrasts_of(table, ["random-grid", "centre"], {"locacc": "higher", "faith": "higher"}, **options)


def test_a_family_is_one_metric_of_one_architecture_and_its_intervals_hold_at_once():
    """The twin pivots the differences by hand; all families have the same draws."""
    table = scores("family", METHODS, archs=("a", "b"), metrics=("locacc", "faith"))
    found = family_of(table)
    own = found[(found["arch"] == "b") & (found["metric"] == "faith")]
    rows = table[(table["arch"] == "b") & (table["metric"] == "faith")]
    wide = rows.pivot_table(index=["group", "image_id", "seed"], columns="method", values="value")
    values = [wide[row.method] - wide[row.against] for row in own.itertuples()]
    groups = rows["group"].unique()
    sums, counts = (
        np.stack([getattr(one.groupby(["group", "seed"]), how)().unstack().loc[groups].to_numpy() for one in values])
        for how in ("sum", "count")
    )
    seeds = [(str(seed),) for seed in sorted(rows["seed"].unique())]
    twin = simultaneous_intervals(FamilySums(sums, counts.astype(float), seeds), rng.generator("family"), level=0.95)
    assert np.allclose(own[["low_family", "high_family", "p_family"]], np.column_stack([twin.low, twin.high, twin.p]))
    assert np.allclose(own["p_family"] < 0.05, (own["low_family"] > 0) | (own["high_family"] < 0))


def test_a_contrast_that_cannot_be_won_is_in_no_family():
    table = scores("unbeatable", METHODS, metrics=("locacc",))
    table["value"] = table["value"].clip(0, 1)
    table.loc[table["method"] == "centre", "value"] = 1.0
    rule = IntervalRule(bounds={"locacc": Bounds(0, 1)})
    found = family_of(table, rule=rule).set_index("against")
    assert np.isnan(found.loc["centre", "p_family"])
    assert found.loc["random-grid", "p_family"] > 0
    alone = family_of(table[table["method"] != "centre"], rule=rule).set_index("against")
    assert found.loc["random-grid", "low_family"] == alone.loc["random-grid", "low_family"]


def test_the_primary_contrast_stands_alone_and_counts_the_architectures():
    table = scores("primary", METHODS, metrics=("locacc",))
    named = {"metric": "locacc", "variant": "", "method": "gradcam", "against": "random-grid"}
    one, three = (family_of(table, primary={**named, "architectures": number}) for number in (1, 3))
    first, third = (found[found["primary"]].iloc[0] for found in (one, three))
    assert third["low_family"] < first["low_family"]
    assert third["p_family"] == pytest.approx(min(1, 3 * first["p_family"]))
    assert one.loc[~one["primary"], "low_family"].tolist() == three.loc[~three["primary"], "low_family"].tolist()


def test_no_interval_of_a_family_leaves_the_range_of_differences():
    table = scores("clip", METHODS, metrics=("locacc",), patients=8)
    table["value"] = (table["value"] > table["value"].median()).astype(float)
    found = family_of(table, rule=IntervalRule(bounds={"locacc": Bounds(0, 1)}))
    for column in ("low", "high", "low_family", "high_family"):
        assert found[column].dropna().between(-1, 1).all()
