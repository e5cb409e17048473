"""Composites: the limits of the harmonic mean, what a missing part does, and that nothing is averaged before it is combined."""

import math
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gradfaith import registry
from gradfaith.config.job_settings import CompositeSettings
from gradfaith.metrics.composite import adcc, adcc_literature, arcc, arcc_literature
from gradfaith.metrics.contract import Result, harmonic_mean
from gradfaith.scoring import composite
from gradfaith.storage import parquet
from gradfaith.storage.paths import StudyPaths

PARTS = {"coherency": "", "complexity": "", "average_drop": ""}


def of(module: Any, *parts: float) -> float:
    """A composite of one map, its parts in the order it declares them."""
    given = {name: np.array([part]) for name, part in zip(module.METRIC.parts, parts, strict=True)}
    return float(module.score(given).value[0])


def test_the_harmonic_mean_by_hand() -> None:
    """Of 1/2, 1/3 and 1/4: 3 / (2 + 3 + 4)."""
    assert harmonic_mean(*(np.array([1 / n]) for n in (2, 3, 4))) == pytest.approx([1 / 3])


@pytest.mark.parametrize("value", [1e-300, 0.2, 1.0])
def test_equal_terms_are_their_own_mean(value: float) -> None:
    assert harmonic_mean(*[np.array([value])] * 3) == pytest.approx([value])


def test_it_goes_to_zero_with_its_smallest_term_and_is_zero_there() -> None:
    """3 / (1/t + 2) lies between 3 t - 6 t^2 and 3 t."""
    for small in (1e-1, 1e-4, 1e-6):
        mean = harmonic_mean(np.array([small]), np.array([1.0]), np.array([1.0]))[0]
        assert 3 * small - 6 * small**2 <= mean <= 3 * small
    with np.errstate(all="raise"):
        lost = harmonic_mean(np.array([0.0, -0.3, 0.0]), np.array([1.0, 1.0, 0.0]), np.ones(3))
    assert lost.tolist() == [0, 0, 0]


def test_order_does_not_matter_and_the_mean_lies_between_its_terms() -> None:
    terms = [np.array([0.3, 0.9]), np.array([0.5, 0.1]), np.array([0.8, 0.4])]
    means = [harmonic_mean(*order) for order in permutations(terms)]
    for mean in means:
        np.testing.assert_allclose(mean, means[0])
    assert (np.min(terms, axis=0) < means[0]).all()
    assert (means[0] < np.max(terms, axis=0)).all()


def test_adcc_and_arcc_by_hand() -> None:
    """Coherency 0.8, complexity 0.5, average drop 0.2: 3 / (1.25 + 2 + 1.25); ROAD 0.25 in the place of the drop: 3 / (1.25 + 2 + 4)."""
    assert of(adcc, 0.8, 0.5, 0.2) == of(adcc_literature, 0.8, 0.5, 0.2) == pytest.approx(3 / 4.5)
    assert of(arcc, 0.8, 0.5, 0.25) == pytest.approx(3 / 7.25)
    assert of(arcc_literature, 0.8, 0.5, 0.125) == pytest.approx(3 / 7.25)


@pytest.mark.parametrize("parts", [(0.0, 0.5, 0.2), (0.8, 1.0, 0.2), (0.8, 0.5, 1.0)])
def test_a_part_at_its_worst_makes_adcc_zero_and_stops_the_literature_s(parts: tuple[float, ...]) -> None:
    assert of(adcc, *parts) == 0
    given = {name: np.array([part, 0.5]) for name, part in zip(PARTS, parts, strict=True)}
    assert adcc_literature.score(given).undefined.tolist() == [True, False]


@pytest.mark.parametrize("order", [-0.4, 0.0])
def test_an_order_no_better_than_chance_makes_arcc_zero_and_the_literature_s_next_to_it(order: float) -> None:
    assert of(arcc, 0.8, 0.5, order) == 0
    assert 0 < of(arcc_literature, 0.8, 0.5, order / 2) < 1e-7


def test_perfect_parts_make_a_perfect_composite() -> None:
    for module in (adcc, adcc_literature, arcc):
        assert of(module, 1.0, 0.0, 0.0 if "average_drop" in module.METRIC.parts else 1.0) == 1
    assert of(arcc_literature, 1.0, 0.0, 0.5) == pytest.approx(1, abs=1e-7)


def result(*cells: tuple[float, str, str]) -> Result:
    value, status, reason = (np.array(column) for column in zip(*cells, strict=True))
    return Result(value.astype(float), status, reason)


OK = (0.5, "ok", "")


def test_a_map_without_a_part_has_the_worst_part_s_status_and_every_part_s_reason() -> None:
    flat, empty, broken = (
        (math.nan, "degenerate", "flat"),
        (math.nan, "undefined", "no drop"),
        (math.nan, "failed", "NaN"),
    )
    parts = {
        "coherency": result(OK, flat, OK, broken, (math.nan, "undefined", "constant")),
        "complexity": result(OK, flat, OK, OK, OK),
        "average_drop": result(OK, flat, empty, empty, OK),
    }
    found = composite.score_composite(adcc, parts, {})
    assert found.status.tolist() == ["ok", "degenerate", "undefined", "failed", "undefined"]
    assert found.reason.tolist() == [
        "", "coherency: flat; complexity: flat; average_drop: flat", "average_drop: no drop", "coherency: NaN; average_drop: no drop",
        "coherency: constant",
    ]  # fmt: skip
    assert found.value[0] == pytest.approx(0.5)
    assert np.isnan(found.value[1:]).all()


def scores(cells: dict[tuple[str, str, str, int], list[float]]) -> pd.DataFrame:
    """Rows of (method, metric, variant, copy): the numbers of images a, b, ...; NaN is undefined."""
    rows = [
        {
            "arch": "net", "seed": 0, "arch2": "", "seed2": pd.NA, "method": method, "copy": copy, "layer": "x", "target": "predicted",
            "metric": metric, "variant": variant, "image_id": image, "group": image, "part": "test", "label": "l", "predicted": "l",
            "correct": True, "value": value, "status": "undefined" if math.isnan(value) else "ok",
            "reason": f"no {metric}" if math.isnan(value) else "",
        }
        for (method, metric, variant, copy), values in cells.items()
        for image, value in zip("abcd", values, strict=False)
    ]  # fmt: skip
    return pd.DataFrame(rows).astype(dict(parquet.SCORES))


def made(use: str, *variants: str, fixed: str = "") -> CompositeSettings:
    parts = registry.load("composite", use).METRIC.parts
    named = {name: {"metric": f"my {name}", "variant": fixed if imputer else ""} for name, imputer in parts.items()}
    return CompositeSettings(use=use, options={}, parts=named, variants=list(variants))


def three(
    method: str, variant: str, *values: list[float], copy: int = 0
) -> dict[tuple[str, str, str, int], list[float]]:
    return {(method, f"my {name}", variant, copy): own for name, own in zip(PARTS, values, strict=True)}


def with_composites(table: pd.DataFrame, composites: dict[str, Any]) -> pd.DataFrame:
    return pd.concat([table, *composite.score_composites(table, composites)], ignore_index=True)


def test_rows_are_joined_map_by_map_and_variant_by_variant() -> None:
    """Two methods, copies, two imputers: the harmonic mean of each row's own parts, and nothing else of the table is touched."""
    table = scores(
        three("m", "black", [0.8, 0.5], [0.5, 0.2], [0.2, 0.0])
        | three("m", "mean", [0.4, 0.5], [0.5, 0.2], [0.9, 0.0])
        | three("shuffled-m", "black", [0.1, 0.2], [0.5, 0.2], [0.5, 0.5], copy=0)
        | three("shuffled-m", "black", [0.3, 0.4], [0.5, 0.2], [0.5, 0.5], copy=1)
        | {("m", "faith", "black", 0): [0.1, 0.1]}
    )
    found = with_composites(table.sample(frac=1, random_state=1), {"adcc": made("adcc", "black", "mean")})
    own = found[found["metric"] == "adcc"].set_index(["method", "copy", "variant", "image_id"])["value"]
    assert len(found) == len(table) + 2 + 2 + 4
    expected = {
        ("m", 0, "black", "a"): (0.8, 0.5, 0.2), ("m", 0, "mean", "a"): (0.4, 0.5, 0.9), ("m", 0, "black", "b"): (0.5, 0.2, 0.0),
        ("shuffled-m", 0, "black", "a"): (0.1, 0.5, 0.5), ("shuffled-m", 1, "black", "b"): (0.4, 0.2, 0.5),
    }  # fmt: skip
    for place, parts in expected.items():
        assert own[place] == pytest.approx(of(adcc, *parts))
    assert list(found.columns) == list(parquet.SCORES)
    assert (found["status"] == "ok").all()


def test_the_mean_of_composites_is_not_the_composite_of_means() -> None:
    """Two maps, each perfect where the other is worst: every one of them is worth 0, their averages would be worth a half."""
    found = with_composites(
        scores(three("m", "black", [1.0, 0.0], [0.0, 0.0], [1.0, 0.0])), {"adcc": made("adcc", "black")}
    )
    assert found.loc[found["metric"] == "adcc", "value"].tolist() == [0, 0]
    assert of(adcc, 0.5, 0.0, 0.5) == pytest.approx(0.6)


def test_road_is_read_with_its_own_imputer_whatever_masks_the_image() -> None:
    table = scores(
        {
            ("m", "my coherency", "black", 0): [0.8],
            ("m", "my coherency", "mean", 0): [0.4],
            ("m", "my complexity", "black", 0): [0.5],
            ("m", "my complexity", "mean", 0): [0.5],
            ("m", "my road", "filled", 0): [0.25],
        }
    )
    found = with_composites(table, {"arcc": made("arcc", "black", "mean", fixed="filled")})
    own = found[found["metric"] == "arcc"].set_index("variant")["value"]
    assert own.to_dict() == pytest.approx({"black": of(arcc, 0.8, 0.5, 0.25), "mean": of(arcc, 0.4, 0.5, 0.25)})


def test_a_map_that_a_part_has_no_row_of_is_undefined_and_not_dropped() -> None:
    table = scores(three("m", "black", [0.8, math.nan, 0.5], [0.5, 0.5], [0.2, 0.2, 0.2]))
    found = with_composites(table, {"adcc": made("adcc", "black")})
    own = found[found["metric"] == "adcc"].set_index("image_id")
    assert own["status"].to_dict() == {"a": "ok", "b": "undefined", "c": "undefined"}
    assert own.loc["b", "reason"] == "coherency: no my coherency"
    assert own.loc["c", "reason"] == "complexity: it was not measured"


def test_a_study_without_composites_keeps_its_scores() -> None:
    table = scores(three("m", "black", [0.8], [0.5], [0.2]))
    pd.testing.assert_frame_equal(with_composites(table, {}), table)
    assert with_composites(parquet.empty(parquet.SCORES), {"adcc": made("adcc", "black")}).empty


CELLS = [("net", 0, "cams"), ("net", 1, "cams"), ("other", 0, "cams")]
MERGED = {"adcc": made("adcc", "black", "mean"), "arcc": made("arcc", "black", fixed="filled")}


def batteries(images: list[str], draw: np.random.Generator) -> dict[str, list[pd.DataFrame]]:
    """Of each battery its tables, two images at a time: two methods, one of them with two copies."""
    masked = [(f"my {name}", variant) for name in ("complexity", "average_drop") for variant in ("black", "mean")]
    metrics = {
        "masking": [*masked, ("faith", "black")],
        "rerun": [("my coherency", "black"), ("my coherency", "mean")],
        "ranking": [("my road", "filled")],
    }  # fmt: skip
    found: dict[str, list[pd.DataFrame]] = {}
    for battery, measured in metrics.items():
        for start in range(0, len(images), 2):
            names, cells = images[start : start + 2], {}
            for method, copy in (("m", 0), ("shuffled-m", 0), ("shuffled-m", 1)):
                cells |= {(method, *metric, copy): draw.random(len(names)).tolist() for metric in measured}
            table = scores(cells)
            table["image_id"] = table["group"] = table["image_id"].map(dict(zip("abcd", names, strict=False)))
            found.setdefault(battery, []).append(table)
    return found


def write_tables(folder: Path, of_battery: Callable[[str, list[str]], list[str]]) -> list[str]:
    """The tables of three cells; `of_battery`: which of the images a battery has, in its order."""
    paths, draw = [], np.random.default_rng(0)
    for arch, seed, bundle in CELLS:
        for battery in ("masking", "rerun", "ranking"):
            images = of_battery(battery, [f"image-{number}" for number in range(11)])
            path = Path(
                StudyPaths("s", "s", "d").faithfulness.format(arch=arch, seed=seed, bundle=bundle, battery=battery)
            )
            with parquet.writing(folder / path, parquet.SCORES) as add:
                for table in batteries(images, draw).get(battery, []):
                    add(table.assign(arch=arch, seed=seed))
            paths.append(str(folder / path))
    return paths


ORDERS: dict[str, Callable[[str, list[str]], list[str]]] = {
    "same order": lambda _, images: images,
    "another order": lambda battery, images: images[::-1] if battery == "rerun" else images,
    "images missing": lambda battery, images: images[2:7] if battery == "ranking" else images,
    "no image": lambda battery, images: [] if battery == "rerun" else images,
}


@pytest.mark.parametrize("order", ORDERS)
def test_tables_merged_group_by_group_are_as_if_merged_at_once(
    tmp_path: Path, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables first, row by row in their order, then the composites of every map, whatever the groups."""
    monkeypatch.setattr(parquet, "ROWS_HELD", 40)
    paths = write_tables(tmp_path, ORDERS[order])
    found = list(composite.merge_tables(paths, MERGED))
    whole = parquet.read_all(paths, parquet.SCORES)
    expected = with_composites(whole, MERGED)
    merged = pd.concat(found, ignore_index=True)
    pd.testing.assert_frame_equal(merged.iloc[: len(whole)], whole)
    key = [*composite.MAP_KEY, "metric", "variant"]
    pd.testing.assert_frame_equal(
        merged.sort_values(key).reset_index(drop=True), expected.sort_values(key).reset_index(drop=True)
    )
    assert (merged["status"] == "ok").mean() > 0.5
    assert len(found) > 40  # it was not read at once
    if order == "same order":  # so sums over images are in the order that they had before
        maps = merged.iloc[len(whole) :].groupby([name for name in key if name != "image_id"])["image_id"]
        assert all(list(images) == [f"image-{number}" for number in range(11)] for _, images in maps)


def test_every_part_of_every_composite_is_a_metric_with_a_direction() -> None:
    for name in registry.names("composite"):
        for part in registry.load("composite", name).METRIC.parts:
            assert registry.load("faithfulness", part).METRIC.better in {"higher", "lower"}
