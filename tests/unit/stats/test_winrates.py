"""Win rates by hand: ties shared and counted, controls beside or among, and what the published rule would have said."""

import numpy as np
import pandas as pd
import pytest
from mean_interval import mean_interval
from winrate_tables import BETTER, EXPECTED_WIN_RATES, TABLE, score_rows, values_by_method

from gradfaith.stats.interval_scales import PROPORTION
from gradfaith.stats.winrates import NO_OPPONENT, estimate_winrates, wins_and_ranks

# Image 1: A alone. 2: A and B share. 3: all three. 4: B and C share.
RANKS = {"A": (1 + 1.5 + 2 + 3) / 4, "B": (2 + 1.5 + 2 + 1.5) / 4, "C": (3 + 3 + 2 + 1.5) / 4}
TIES = {"A": 2, "B": 3, "C": 2}


def test_a_table_worked_by_hand():
    found = estimate_winrates([score_rows()], [], BETTER)
    assert values_by_method(found) == pytest.approx(EXPECTED_WIN_RATES)
    assert sum(values_by_method(found).values()) == pytest.approx(1)
    assert values_by_method(found, "mean_rank") == pytest.approx(RANKS)
    assert sum(values_by_method(found, "mean_rank").values()) == pytest.approx(1 + 2 + 3)
    assert values_by_method(found, column="n_ties") == TIES
    assert set(found.loc[found["stratum"] == "all", "n_contests"]) == {4}
    assert set(found["n_methods"]) == {3}


def test_the_published_rule_gives_another_table():
    """Its argsort of negative scores puts the first column first among equals: A wins every tie it is in, and C none."""
    first = np.argsort(-TABLE, axis=1, kind="stable")[:, 0]
    published = {method: float(np.mean(first == place)) for place, method in enumerate("ABC")}
    assert published == {"A": 3 / 4, "B": 1 / 4, "C": 0}
    ours = values_by_method(estimate_winrates([score_rows()], [], BETTER))
    assert ours["A"] < published["A"]
    assert ours["C"] > published["C"]


def test_the_order_of_the_methods_does_not_matter():
    turned = values_by_method(estimate_winrates([score_rows(TABLE[:, ::-1], "CBA")], [], BETTER))
    assert turned == pytest.approx(EXPECTED_WIN_RATES)


def test_by_class():
    found = estimate_winrates([score_rows()], [], BETTER)
    assert values_by_method(found, stratum="crack") == pytest.approx({"A": 3 / 4, "B": 1 / 4, "C": 0})
    assert values_by_method(found, stratum="hole") == pytest.approx({"A": 1 / 6, "B": 5 / 12, "C": 5 / 12})
    assert set(found.loc[found["stratum"] == "hole", "by"]) == {"label"}


def test_only_images_that_the_model_gets_right():
    frame = score_rows()
    frame["correct"] = frame["image_id"] != "i0"
    found = values_by_method(estimate_winrates([frame], [], BETTER, only_correct=True))
    assert found == pytest.approx({"A": (1 / 2 + 1 / 3) / 3, "B": 4 / 9, "C": 5 / 18})


def test_where_lower_is_better_the_lowest_wins_and_where_neither_is_nobody_does():
    found = values_by_method(estimate_winrates([score_rows(-TABLE, metric="drop")], [], BETTER))
    assert found == pytest.approx(EXPECTED_WIN_RATES)
    assert estimate_winrates([score_rows(metric="share")], [], BETTER).empty


def test_a_control_beside_the_methods_leaves_their_rates_alone():
    table = np.column_stack([TABLE, [0.6, 0.4, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    frame = score_rows(table, ["A", "B", "C", "centre", "shuffled-A"])
    found = estimate_winrates([frame], ["centre"], BETTER)
    assert {
        name: value for name, value in values_by_method(found).items() if name in EXPECTED_WIN_RATES
    } == pytest.approx(EXPECTED_WIN_RATES)
    assert values_by_method(found)["centre"] == pytest.approx((1 + 1 / 3 + 1 / 4 + 0) / 4)
    assert values_by_method(found)["shuffled-A"] == pytest.approx((0 + 0 + 1 / 4 + 0) / 4)
    assert values_by_method(found, column="beside") == {
        "A": False,
        "B": False,
        "C": False,
        "centre": True,
        "shuffled-A": True,
    }
    assert values_by_method(found, column="n_methods") == {"A": 3, "B": 3, "C": 3, "centre": 4, "shuffled-A": 4}


def test_controls_among_the_methods_take_part_in_every_contest():
    table = np.column_stack([TABLE, [0.6, 0.4, 0.0, 0.0]])
    found = estimate_winrates(
        [score_rows(table, ["A", "B", "C", "centre"])], ["centre"], BETTER, control_placement="among"
    )
    assert values_by_method(found)["A"] == pytest.approx((0 + 1 / 3 + 1 / 4 + 0) / 4)
    assert sum(values_by_method(found).values()) == pytest.approx(1)
    assert not found["beside"].any()


def test_an_image_without_a_score_of_every_method_is_no_contest_and_is_counted():
    table = TABLE.copy()
    table[0, 2] = np.nan
    found = estimate_winrates([score_rows(table)], [], BETTER)
    assert values_by_method(found) == pytest.approx({"A": (1 / 2 + 1 / 3) / 3, "B": 4 / 9, "C": 5 / 18})
    assert values_by_method(found, column="n_lost") == {"A": 1, "B": 1, "C": 1}
    assert values_by_method(found, column="n_contests") == {"A": 3, "B": 3, "C": 3}


def test_scores_that_differ_by_rounding_are_level_and_others_are_not():
    wins, ranks = wins_and_ranks(np.array([[0.5, 0.5 + 1e-8, 0.2], [0.5, 0.5 + 1e-5, 0.2]]))
    assert wins.tolist() == [[0.5, 0.5, 0], [0, 1, 0]]
    assert ranks.tolist() == [[1.5, 1.5, 3], [2, 1, 3]]


def test_one_method_alone_wins_nothing():
    found = estimate_winrates([score_rows(TABLE[:, :1], "A")], [], BETTER)
    assert found["value"].isna().all()
    assert set(found["reason"]) == {NO_OPPONENT}


def test_of_five_copies_only_the_first_takes_part():
    table = np.column_stack([TABLE, np.zeros(4)])
    frame = score_rows(table, ["A", "B", "C", "shuffled-A"])
    more = frame[frame["method"] == "shuffled-A"].assign(copy=1, value=9.0)
    both = pd.concat([frame, more], ignore_index=True)
    pd.testing.assert_frame_equal(estimate_winrates([both], [], BETTER), estimate_winrates([frame], [], BETTER))


def test_the_interval_is_that_of_the_wins_over_groups_and_seeds():
    draw = np.random.default_rng(0)
    parts = [score_rows(draw.integers(0, 4, (24, 3)) / 4, seed=seed) for seed in (0, 1)]
    frame = pd.concat(parts, ignore_index=True)
    frame["group"] = "g" + (frame["image_id"].str[1:].astype(int) // 2).astype(str)
    row = (
        estimate_winrates([frame], [], BETTER)
        .query("method == 'B' and measure == 'win_rate' and stratum == 'all'")
        .iloc[0]
    )
    wide = frame.pivot(index=["seed", "image_id", "group"], columns="method", values="value")
    wins = wins_and_ranks(wide.to_numpy())[0][:, 1]
    group, seed = (wide.index.get_level_values(name) for name in ("group", "seed"))
    twin = mean_interval(wins, group, seed, bounds=PROPORTION)
    assert row[["value", "low", "high"]].tolist() == pytest.approx([twin.mean, twin.low, twin.high])
    assert (row["n_groups"], row["n_seeds"], row["n_contests"]) == (12, 2, 48)
    assert row["n_ties"] == ((wins > 0) & (wins < 1)).sum() > 0
