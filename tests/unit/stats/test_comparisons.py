"""Which pairs are compared: the declared ones only, each with the interval of its differences."""

import itertools
import time

import numpy as np
import pandas as pd
import pytest
from mean_interval import mean_interval
from whole_scores import contrasts_of

from gradfaith import rng
from gradfaith.stats.comparisons import Comparisons, is_compared
from gradfaith.stats.contrasts import estimate_contrasts
from gradfaith.stats.interval_scales import Bounds, IntervalRule

CONTROLS, BETTER = (
    ["centre", "random"],
    {"faith": "higher", "iou": "higher", "consist": "higher", "faith_logit": "higher"},
)
METHODS = ("gradcam", "layercam", "refined", "centre", "random", "shuffled-gradcam")
HOW = {"bases": {"refined": "layercam"}, "imputed": ["faith"], "not_across": ["faith_logit"], "on_common_grid": ["iou"]}


def rows(
    metric: str, variant: str, arch: str, seeds: tuple[tuple[int, object], ...], arch2: str = "", patients: int = 16
) -> pd.DataFrame:
    """Draw a score per image, method and run."""
    noise, n = rng.generator("comparisons", metric, variant, arch), 2 * patients
    about = {"image_id": [f"i{k}" for k in range(n)], "group": [f"p{k // 2}" for k in range(n)]}
    about |= {"label": [("normal", "benign")[k // 2 % 2] for k in range(n)], "status": "ok", "reason": "", "copy": 0}
    about |= {
        "arch": arch,
        "arch2": arch2,
        "metric": metric,
        "variant": variant,
        "target": "true",
        "layer": arch + " top",
    }
    frames = [
        pd.DataFrame({**about, "seed": seed, "seed2": seed2, "method": method, "value": noise.uniform(0, 1, n)})
        for (seed, seed2), method in itertools.product(seeds, METHODS)
    ]
    return pd.concat(frames, ignore_index=True).astype({"seed2": "Int64"})


SINGLE, PAIRS = tuple((seed, pd.NA) for seed in range(3)), ((0, 1), (0, 2), (1, 2))


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    single = [("faith", "black"), ("faith", "blur"), ("faith_logit", "black"), ("iou", ""), ("iou", "common-grid")]
    frames = [rows(*name, arch, SINGLE) for name in single for arch in ("net-b", "net-a", "net-c")]
    pairs = [
        rows("consist", variant, arch, PAIRS, arch2=arch)
        for variant in ("pairs", "between-images", "reference")
        for arch in ("net-b", "net-a")
    ]
    across = rows("consist", "architectures", "net-a", SINGLE, arch2="net-b")
    table = pd.concat([*frames, *pairs, across], ignore_index=True)
    return table[is_compared(table)]


@pytest.fixture(scope="module")
def found(scores: pd.DataFrame) -> pd.DataFrame:
    rule = IntervalRule(bounds=dict.fromkeys(BETTER, Bounds(0, 1)))
    return contrasts_of(scores, CONTROLS, BETTER, rule=rule, **HOW)


def of(table: pd.DataFrame, comparison: str, *names: str) -> set[tuple[str, ...]]:
    own = table[table["comparison"] == comparison]
    return set(own[list(names)].itertuples(index=False, name=None))


def test_methods_meet_each_other_and_a_refined_one_its_base(found: pd.DataFrame) -> None:
    assert of(found, "method", "method", "against") == {("gradcam", "layercam"), ("gradcam", "refined")}
    assert of(found, "base", "method", "against") == {("refined", "layercam")}
    assert of(found, "control", "method") == {("gradcam",), ("layercam",), ("refined",)}
    assert of(found, "method", "metric", "variant") == {
        ("faith", "black"), ("faith", "blur"), ("faith_logit", "black"), ("iou", ""), ("consist", "pairs"),
    }  # fmt: skip


def test_architectures_meet_where_their_scores_have_one_scale_and_one_grid(found: pd.DataFrame) -> None:
    assert of(found, "architecture", "arch", "against") == {("net-b", "net-a"), ("net-b", "net-c"), ("net-a", "net-c")}
    metrics = of(found, "architecture", "metric", "variant")
    assert metrics == {("faith", "black"), ("faith", "blur"), ("iou", "common-grid"), ("consist", "pairs")}
    assert of(found, "architecture", "method") == {("gradcam",), ("layercam",), ("refined",)}


def test_imputers_and_chance_levels_are_compared_for_methods_only(found: pd.DataFrame) -> None:
    assert of(found, "imputer", "metric", "variant", "against") == {("faith", "black", "blur")}
    chance = found[found["comparison"] == "chance"]
    assert of(found, "chance", "metric", "variant", "against") == {("consist", "pairs", "between-images")}
    assert set(chance["label"]) == {"", "normal", "benign"}
    assert (
        of(found, "chance", "method") == of(found, "imputer", "method") == {("gradcam",), ("layercam",), ("refined",)}
    )
    assert not found.duplicated(["comparison", "arch", "metric", "variant", "method", "against", "label"]).any()


def twin(scores: pd.DataFrame, first: dict[str, str], second: dict[str, str], label: str = "") -> list[float]:
    """Pair two sides in a plain loop over rows, and return value, low, high of the differences."""
    sides = []
    for side in (first, second):
        own = scores
        for name, value in side.items():
            own = own[own[name] == value]
        sides.append({(row.image_id, row.seed, str(row.seed2)): row for row in own.itertuples()})
    pairs = [
        (row.value - sides[1][key].value, row.group, (row.seed, row.seed2) if row.seed2 is not pd.NA else (row.seed,))
        for key, row in sides[0].items()
        if key in sides[1] and label in ("", row.label)
    ]
    values, groups, runs = zip(*pairs, strict=True)
    estimate = mean_interval(values, groups, runs, bounds=Bounds(-1, 1))
    return [estimate.mean, estimate.low, estimate.high]


FAITH = {"metric": "faith", "variant": "black", "arch": "net-b", "method": "gradcam"}
CONSIST = {"metric": "consist", "variant": "pairs", "arch": "net-a", "method": "layercam"}
CASES = {
    "control": (FAITH, {"method": "centre"}, "centre", ""),
    "method": (FAITH, {"method": "layercam"}, "layercam", ""),
    "architecture": (FAITH, {"arch": "net-c"}, "net-c", ""),
    "architecture on the common grid": (
        {"metric": "iou", "variant": "common-grid", "arch": "net-b", "method": "gradcam"}, {"arch": "net-c"}, "net-c", "",
    ),
    "base": (FAITH | {"method": "refined"}, {"method": "layercam"}, "layercam", ""),
    "imputer": (FAITH, {"variant": "blur"}, "blur", ""),
    "chance": (CONSIST, {"variant": "between-images"}, "between-images", ""),
    "chance by class": (CONSIST, {"variant": "between-images"}, "between-images", "benign"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_kind_is_the_interval_of_its_differences(scores: pd.DataFrame, found: pd.DataFrame, name: str) -> None:
    side, other, against, label = CASES[name]
    own = found[
        (found["comparison"] == name.split(maxsplit=1)[0]) & (found["against"] == against) & (found["label"] == label)
    ]
    for column, value in side.items():
        own = own[own[column] == value]
    (row,) = own.to_dict("records")
    assert np.allclose([row["value"], row["low"], row["high"]], twin(scores, side, side | other, label), rtol=1e-9)
    assert row["low_family"] <= row["high_family"]


def test_a_family_is_one_kind_in_one_context(found: pd.DataFrame, scores: pd.DataFrame) -> None:
    """Without the other kinds, architectures and metrics, the intervals of a family stay."""
    own = scores[(scores["arch"] == "net-a") & (scores["metric"] == "faith") & (scores["variant"] == "black")]
    alone = contrasts_of(own, [], BETTER, rule=IntervalRule(bounds={"faith": Bounds(0, 1)}), **HOW)
    keys = ["comparison", "arch", "metric", "variant", "method", "against"]
    both = alone[alone["comparison"] == "method"].merge(found, on=keys, suffixes=("", "_all"))
    both = both[both["method"].isin(["gradcam"]) & both["against"].isin(["layercam", "refined"])]
    assert len(both) == 2
    assert (
        len(found[found["comparison"] == "architecture"].groupby(["arch", "against", "metric", "variant"])) == 3 * 3 + 1
    )


def test_images_that_one_architecture_lacks_take_no_part(scores: pd.DataFrame) -> None:
    own = scores[(scores["metric"] == "faith") & (scores["variant"] == "black") & (scores["arch"] != "net-c")]
    fewer = own[(own["arch"] != "net-a") | ~own["image_id"].isin(["i0", "i5"])]
    table = contrasts_of(fewer, CONTROLS, BETTER, **HOW)
    row = table[(table["comparison"] == "architecture") & (table["method"] == "gradcam")].iloc[0]
    assert (row["arch"], row["against"], row["n_images"], row["n_lost"]) == ("net-b", "net-a", 30, 0)


def large_table(archs: int, seeds: int, methods: int, metrics: int, images: int) -> pd.DataFrame:
    """Return random scores; texts are categories, as a job reads them."""
    names = [f"method-{k}" for k in range(methods)]
    shape = {"arch": [f"net-{k}" for k in range(archs)], "seed": list(range(seeds)), "method": names,
             "metric": [f"metric-{k}" for k in range(metrics)], "image_id": [f"i{k:03d}" for k in range(images)]}  # fmt: skip
    codes = np.indices([len(own) for own in shape.values()]).reshape(len(shape), -1)
    columns = {
        name: np.asarray(own)[code] if name == "seed" else pd.Categorical.from_codes(code, own)
        for (name, own), code in zip(shape.items(), codes, strict=True)
    }
    group = pd.Categorical.from_codes(codes[-1] // 4, [f"p{k}" for k in range(images // 4)])
    texts = {"arch2": "", "variant": "", "target": "true", "layer": "", "status": "ok", "reason": "", "label": "a"}
    fixed = {name: pd.Categorical.from_codes(np.zeros(len(group), int), [text]) for name, text in texts.items()}
    value = rng.generator("large").uniform(0, 1, len(group))
    return pd.DataFrame({**columns, **fixed, "group": group, "seed2": pd.NA, "copy": 0, "value": value})


@pytest.mark.slow
def test_five_architectures_with_five_seeds_take_less_than_a_minute() -> None:
    """7,600 contrasts of 1.2 million scores: all methods with each other, four of them controls, and all architectures."""
    table = large_table(archs=5, seeds=5, methods=12, metrics=20, images=200)
    better = {f"metric-{k}": "higher" for k in range(20)}
    rule = IntervalRule(bounds=dict.fromkeys(better, Bounds(0, 1)))
    controls = ["method-8", "method-9", "method-10", "method-11"]
    asked = Comparisons([f"method-{k}" for k in range(12)], controls, better)
    parts = [table[table["metric"] == name] for name in better]
    started = time.process_time()
    found = estimate_contrasts(parts, asked, rule=rule)
    seconds = time.process_time() - started
    assert len(found) == 20 * (5 * (8 * 4 + 28) + 10 * 8)
    assert found["p_family"].notna().all()
    assert seconds < 60, f"{seconds:.0f} s of CPU time"
