"""The leakage probe finds planted copies and nothing where there is nothing; the gate stops a study on it."""

import numpy as np
import pandas as pd
import pytest

from gradfaith.config.job_settings import LeakageCheckSettings, SplitSettings
from gradfaith.data.audit import checks, leakage_check
from gradfaith.data.audit.checks import overlap_with_training
from gradfaith.errors import LeakySplit

CLASSES = ["a", "b", "c"]
HOW = SplitSettings(by="group", train=0.6, val=0.2, test=0.2, tolerance=0.1, seed=0, classes=CLASSES)


def world(per_group: int, sharp: float) -> tuple[np.ndarray, pd.DataFrame]:
    """Groups with a look of their own, and slices that vary a little around it; classes look alike."""
    draw, thumbs, rows = np.random.default_rng(3), [], []
    for number in range(60):
        look = draw.normal(0, 1, (32, 32))
        for place in range(per_group):
            thumbs.append(look + draw.normal(0, sharp, (32, 32)))
            rows.append((f"{number}-{place}", CLASSES[number % 3], f"g{number}"))
    table = pd.DataFrame(rows, columns=["image_id", "label", "group"])
    table["pixel_hash"] = table["image_id"]
    return np.array(thumbs, np.float32), table


def parts(table: pd.DataFrame, by: str) -> np.ndarray:
    key = pd.factorize(table["group"])[0] if by == "group" else np.random.default_rng(0).permutation(len(table))
    return np.array(["train", "train", "train", "val", "test"])[key // 3 % 5]


def probed(by: str) -> dict:
    thumbs, table = world(5, 0.3)
    return checks.leakage_probe(thumbs, np.zeros((32, 32), np.float32), table.assign(part=parts(table, by)), HOW, 0)


def test_slices_of_one_group_on_both_sides_are_recognised_and_groups_kept_whole_are_not() -> None:
    leaky, whole = probed("slice"), probed("group")
    assert leaky["this"]["whole"] > 0.95
    assert np.mean([one["whole"] for one in whole["random"]]) > 0.95
    assert abs(whole["this"]["whole"] - 1 / 3) < 0.2
    assert len(whole["groups"]) == checks.GROUP_SPLITS
    assert abs(np.mean([one["whole"] for one in whole["groups"]]) - 1 / 3) < 0.15
    assert whole["chance"] == pytest.approx(1 / 3)


def test_what_lies_in_the_lungs_is_cut_away_for_all_alike() -> None:
    thumbs, table = world(1, 0.3)
    air = np.zeros((32, 32), np.float32)
    air[8:24, 4:28] = 0.5
    thumbs[:, 10:22, 8:24] += 100 * pd.factorize(table["label"])[0][:, None, None]
    found = checks.leakage_probe(thumbs, air, table.assign(part=parts(table, "group")), HOW, 0)["this"]
    assert found["whole"] == 1
    assert found["rim"] < 0.7


def test_the_nearest_neighbour_is_that_of_a_slow_search() -> None:
    draw = np.random.default_rng(1)
    flat, label = draw.normal(size=(40, 6)).astype(np.float32), draw.integers(0, 3, 40)
    train = np.arange(40) < 25
    right = {one: [] for one in range(3)}
    for row in np.flatnonzero(~train):
        near = min(np.flatnonzero(train), key=lambda other: ((flat[row] - flat[other]) ** 2).sum())
        right[int(label[row])].append(label[near] == label[row])
    slow = np.mean([np.mean(hits) for hits in right.values() if hits])
    assert checks.nearest_neighbour_accuracy(flat, label, train, ~train) == pytest.approx(slow)


def test_a_study_that_trains_nothing_has_a_reason_and_no_number() -> None:
    thumbs, table = world(1, 0.3)
    found = checks.leakage_probe(thumbs, np.zeros((32, 32), np.float32), table.assign(part="test"), HOW, 0)
    assert found == {"reason": "this study trained no model on these images", "this": None, "random": [], "groups": []}


def audit(whole: float | None, seen: dict | None = None) -> dict:
    if whole is None:
        return {"leakage": {"reason": "nothing was trained", "this": None}, "seen_before": seen}
    return {"leakage": {"this": {"whole": whole, "rim": 0.3}, "side": 32, "chance": 1 / 3}, "seen_before": seen}


def test_the_gate_opens_below_the_limit_and_warns_where_a_leak_is_allowed() -> None:
    asked = LeakageCheckSettings(by="group", leak_limit=0.75, allow_leaky_split=False)
    assert leakage_check.check_leakage(audit(0.75), asked)["caution"] == ""
    assert not leakage_check.check_leakage(audit(None), asked)["leaky"]
    with pytest.raises(LeakySplit, match=r"0\.800 .* split\.leak_limit 0\.75"):
        leakage_check.check_leakage(audit(0.8), asked)
    allowed = leakage_check.check_leakage(audit(0.8), asked.model_copy(update={"allow_leaky_split": True}))
    assert allowed["leaky"]
    assert "LEAKY SPLIT" in allowed["caution"]
    sliced = leakage_check.check_leakage(
        audit(0.1), asked.model_copy(update={"by": "slice", "allow_leaky_split": True})
    )
    assert "several parts" in sliced["caution"]


def test_images_that_an_external_study_s_models_know_are_found_and_stop_the_study() -> None:
    asked = LeakageCheckSettings(by="group", leak_limit=0.75, allow_leaky_split=False)
    theirs = pd.DataFrame({"pixel_hash": list("abcd"), "part": ["train", "val", "test", "train"]})
    ours = pd.DataFrame({"pixel_hash": list("cxbd"), "image_id": ["one", "two", "three", "four"]})
    seen = overlap_with_training(ours, "there", theirs)
    assert seen == {"study": "there", "images": 2, "list": ["four", "three"]}
    with pytest.raises(LeakySplit, match=r"2 images are pixel-identical to .* study there .*: four, three"):
        leakage_check.check_leakage(audit(None, seen), asked)
    unseen = overlap_with_training(ours[:2], "there", theirs)
    assert not leakage_check.check_leakage(audit(None, unseen), asked)["leaky"]
    assert overlap_with_training(ours, "", None) is None
