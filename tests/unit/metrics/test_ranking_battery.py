"""Removal in the map's order: exact counts whatever the ties, one order for both ends, and curves known by hand."""

import numpy as np
import pytest
import torch
from single import SinglePrecisionTensor
from torch import Tensor
from torch.testing import assert_close

from gradfaith.metrics.contract import MethodMaps, RankedRemoval, Scores
from gradfaith.metrics.faithfulness import (
    average_drop,
    average_drop_pgc,
    complexity,
    deletion,
    faithfulness_correlation,
    increase_in_confidence,
    infidelity,
    insertion,
    insertion_minus_deletion,
    road,
    road_pgc,
)
from gradfaith.metrics.imputers import black, blur, mean
from gradfaith.metrics.maps.removals import rank_pixels
from gradfaith.metrics.runners.masking import run_battery

BLACK = {"black": (black, {})}
SIZE = (12, 10)
PIXELS = SIZE[0] * SIZE[1]


def linear(images: Tensor) -> Tensor:
    """The class's probability is the mean grey of the image: logit p against 1 - p."""
    p = images.mean(dim=(1, 2, 3)).clamp(1e-6, 1 - 1e-6)
    return torch.stack([p.log(), (1 - p).log()], dim=1)


def stored(raw: Tensor, grid: str = "input") -> MethodMaps:
    return MethodMaps(
        raw, grid, False, torch.zeros(len(raw), dtype=torch.long), torch.zeros(len(raw), dtype=torch.long)
    )  # type: ignore[arg-type]


def of(image: Tensor, raw: Tensor, imputers=BLACK, **metrics):
    return run_battery(
        linear, image, {"m": stored(raw)}, metrics, imputers, mean=torch.tensor([0.5]), key=("study",), chunk=16
    )


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("order", ["most", "least"])
def test_exactly_as_many_pixels_go_as_were_asked_whatever_the_ties(zeros: float, order: str) -> None:
    unit = numbers(4, *SIZE) * (numbers(4, *SIZE, seed=1) >= zeros)
    order_ = rank_pixels(unit, numbers(4, *SIZE, seed=2))
    assert (order_.rank.flatten(1).sort(dim=1).values == torch.arange(PIXELS)).all(), "a total order"
    for share in (0.05, 0.2, 1 / 3, 0.8, 1.0):
        gone = 1 - order_.keep_mask(RankedRemoval(order, share))  # type: ignore[arg-type]
        assert gone.sum(dim=(1, 2)).tolist() == [round(share * PIXELS)] * 4


def test_the_most_relevant_go_first_and_the_least_last() -> None:
    unit = torch.tensor([[[0.9, 0.1], [0.5, 0.7]]])
    order = rank_pixels(unit, numbers(1, 2, 2))
    assert order.rank.tolist() == [[[0, 3], [2, 1]]]
    assert order.keep_mask(RankedRemoval("most", 0.5)).tolist() == [[[0, 1], [1, 0]]]
    assert order.keep_mask(RankedRemoval("least", 0.5)).tolist() == [[[1, 0], [0, 1]]]


def test_ties_are_broken_alike_for_all_maps_of_an_image_and_by_its_own_numbers() -> None:
    flat, ties = torch.zeros(2, *SIZE), numbers(1, *SIZE)
    same = rank_pixels(flat, ties.expand(2, -1, -1)).rank
    assert torch.equal(same[0], same[1])
    assert torch.equal(same[0].flatten().argsort(), ties.flatten().argsort())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pixels_are_sorted_by_value_and_then_by_the_number_of_their_image(dtype: torch.dtype) -> None:
    """Against NumPy's sort by two columns; the double values differ by less than single precision resolves."""
    close = 1e-9 if dtype == torch.float64 else 0.1
    unit = ((numbers(6, *SIZE) * 5).round().to(dtype) * close).neg().add(1) * (numbers(6, *SIZE, seed=4) > 0.3)
    unit[0, 0, 0] = -0.0
    ties, image = numbers(2, *SIZE, seed=5), torch.tensor([0, 1, 1, 0, 0, 1])
    found = rank_pixels(unit, ties, image)
    for values, number, pixels, rank in zip(unit, ties[image], found.pixels, found.rank, strict=True):
        expected = np.lexsort((number.flatten().numpy(), -values.flatten().numpy()))
        assert pixels.tolist() == expected.tolist()
        assert rank.flatten()[pixels].tolist() == list(range(PIXELS))


def test_any_increasing_change_of_the_map_is_the_same_order() -> None:
    unit, ties = numbers(3, *SIZE), numbers(3, *SIZE, seed=3)
    assert torch.equal(rank_pixels(unit, ties).rank, rank_pixels(unit**3 + 1, ties).rank)


def test_deletion_and_insertion_by_hand() -> None:
    """Pixels .8 .4 .6 .2, taken in the order of the map: the mean falls .5, .3, .2, .05, 0."""
    image, map_ = torch.tensor([[[[0.8, 0.4], [0.6, 0.2]]]]), torch.tensor([[[9.0, 5.0], [7.0, 1.0]]])
    found = of(image, map_, deletion=(deletion, {"steps": 4}), insertion=(insertion, {"steps": 4}))
    curve = [found.curves["m"]["black", "most", step / 4][0] for step in range(5)]
    assert curve == pytest.approx([0.5, 0.3, 0.15, 0.05, 0.0], abs=1e-5)
    assert found.by_method["m"]["deletion", "black"].value[0] == pytest.approx((0.25 + 0.3 + 0.15 + 0.05) / 4, abs=1e-5)
    back = [found.curves["m"]["black", "least", step / 4][0] for step in range(5)]
    assert back == pytest.approx([0.5, 0.45, 0.35, 0.2, 0.0], abs=1e-5)
    assert found.by_method["m"]["insertion", "black"].value[0] == pytest.approx(
        (0.25 + 0.45 + 0.35 + 0.2) / 4, abs=1e-5
    )


def test_deletion_of_the_opposite_map_is_insertion_of_the_map() -> None:
    image, map_ = numbers(1, 1, *SIZE), numbers(1, *SIZE, seed=5)
    metrics = {"deletion": (deletion, {}), "insertion": (insertion, {}), "both": (insertion_minus_deletion, {})}
    own, opposite = of(image, map_, **metrics).by_method["m"], of(image, 1 - map_, **metrics).by_method["m"]
    for one, other in (("deletion", "insertion"), ("insertion", "deletion")):
        assert own[one, "black"].value[0] == pytest.approx(opposite[other, "black"].value[0], abs=1e-6)
    assert own["both", "black"].value[0] == pytest.approx(-opposite["both", "black"].value[0], abs=1e-6)


def test_road_by_hand_and_the_published_variant_where_nothing_is_tied() -> None:
    """On a map without ties a percentile and a rank take the same pixels, but for one at the edge."""
    image, map_ = numbers(1, 1, *SIZE), numbers(1, *SIZE, seed=5)
    found = of(image, map_, road=(road, {}), pgc=(road_pgc, {})).by_method["m"]
    order = map_.flatten().argsort(descending=True)
    flat, gaps = image.flatten(), []
    for share in (0.2, 0.4, 0.6, 0.8):
        count = round(share * PIXELS)
        most, least = flat.clone(), flat.clone()
        most[order[:count]], least[order[-count:]] = 0, 0
        gaps.append(float(least.mean() - most.mean()))
    assert found["road", "black"].value[0] == pytest.approx(np.mean(gaps), abs=1e-5)
    assert 2 * found["pgc", "black"].value[0] == pytest.approx(np.mean(gaps), abs=2 / PIXELS)


def test_percentiles_of_a_map_with_ties_measure_no_order() -> None:
    """2 % of a random map is not zero: it knows nothing, yet grad-cam's ROAD scores it; ours is nought in the mean."""
    count = 200
    images = torch.full((count, 1, *SIZE), 0.5)
    images[:, :, 3:6, 3:6] = 1
    raw = numbers(count, *SIZE, seed=6) * (numbers(count, *SIZE, seed=7) > 0.98)
    raw[:, 0, 0] += 0.01
    maps = {"m": MethodMaps(raw, "input", False, torch.arange(count), torch.zeros(count, dtype=torch.long))}
    found = run_battery(linear, images, maps, {"road": (road, {}), "pgc": (road_pgc, {})}, BLACK, key=("s",)).by_method[
        "m"
    ]
    assert abs(found["road", "black"].value.mean()) < 0.01
    assert abs(2 * found["pgc", "black"].value.mean()) > 0.01


def test_what_is_kept_by_hand() -> None:
    """Kept: .8 and half of .4 of a mean of .5, so .25 is left; the map shows 1.5 of 4 pixels."""
    image, map_ = torch.tensor([[[[0.8, 0.4], [0.6, 0.2]]]]), torch.tensor([[[1.0, 0.5], [0.0, 0.0]]])
    files = {"ad": average_drop, "pgc": average_drop_pgc, "ic": increase_in_confidence, "com": complexity}
    found = of(image, map_, **{name: (file, {}) for name, file in files.items()})
    value = {name: found.by_method["m"][name, "black"].value[0] for name in files}
    assert value == pytest.approx({"ad": 0.5, "pgc": 0.25, "ic": 0.0, "com": 0.375}, abs=1e-5)
    assert (found.passes_run, found.passes_requested) == (1 + 1, 1 + 4), "four metrics ask for one image"


def test_confidence_can_increase_and_the_drop_is_then_nought() -> None:
    image, map_ = torch.tensor([[[[0.2, 0.4]]]]), torch.tensor([[[1.0, 0.0]]])
    bright = {"mean": (mean, {})}  # fills with 0.5
    found = of(image, map_, bright, ad=(average_drop, {}), ic=(increase_in_confidence, {})).by_method["m"]
    assert (found["ad", "mean"].value[0], found["ic", "mean"].value[0]) == (0.0, 1.0)


def test_a_class_without_probability_has_no_drop() -> None:
    none = run_battery(
        lambda x: torch.stack([torch.full((len(x),), -50.0), torch.zeros(len(x))], dim=1), torch.zeros(1, 1, 2, 2),
        {"m": stored(numbers(1, 2, 2))}, {"ad": (average_drop, {})}, BLACK,
    ).by_method["m"]["ad", "black"]  # fmt: skip
    assert (none.status[0], none.reason[0]) == ("undefined", "the class had no probability to lose")


def test_faithfulness_correlation_is_one_for_a_map_that_is_the_model() -> None:
    image = numbers(1, 1, *SIZE) * 0.5 + 0.2
    log_p = run_battery(
        lambda x: torch.stack([x.sum(dim=(1, 2, 3)), torch.zeros(len(x))], dim=1), image,
        {"true": stored(image[:, 0] - image.min()), "other": stored(numbers(1, *SIZE, seed=9))},
        {"fc": (faithfulness_correlation, {"subsets": 40})}, BLACK, key=("s",),
    ).by_method  # fmt: skip
    assert log_p["true"]["fc", "black"].value[0] > 0.97
    assert abs(log_p["other"]["fc", "black"].value[0]) < 0.7


def test_infidelity_is_nought_for_a_map_that_is_the_model_and_one_for_none() -> None:
    image = numbers(1, 1, *SIZE) * 0.5
    image[0, 0, 0, 0] = 0
    maps = {"true": stored(image[:, 0]), "broad": stored(torch.ones(1, *SIZE).index_fill(1, torch.tensor([0]), 0.0))}
    found = run_battery(
        lambda x: torch.stack([x.sum(dim=(1, 2, 3)), torch.zeros(len(x))], dim=1), image, maps,
        {"inf": (infidelity, {}), "fc": (faithfulness_correlation, {})}, BLACK, key=("s",),
    )  # fmt: skip
    assert found.by_method["true"]["inf", "black"].value[0] == pytest.approx(0, abs=1e-6)
    assert 0 < found.by_method["broad"]["inf", "black"].value[0] < 0.1, (
        "a flat map tells the mean drop: declared as fooled"
    )
    assert found.passes_run == 1 + 20
    deaf = run_battery(lambda x: torch.zeros(len(x), 2), image, maps, {"inf": (infidelity, {})}, BLACK).by_method[
        "true"
    ]["inf", "black"]
    assert (deaf.status[0], deaf.reason[0]) == ("undefined", "no set of pixels matters, to the model or in the map")


def test_random_sets_are_the_image_s_own_and_are_run_once_for_all_maps() -> None:
    seen: list[int] = []

    def counted(images: Tensor) -> Tensor:
        seen.append(len(images))
        return linear(images)

    images = numbers(3, 1, *SIZE)
    rows = torch.tensor([0, 1, 2, 2])
    maps = {
        name: MethodMaps(numbers(4, *SIZE, seed=seed), "input", False, rows, torch.zeros(4, dtype=torch.long))
        for name, seed in (("a", 1), ("b", 2))
    }
    metrics = {"fc": (faithfulness_correlation, {"subsets": 6}), "deletion": (deletion, {"steps": 2})}
    results = [
        run_battery(counted, images, maps, metrics, BLACK, image_ids=list("xyz"), key=("s",), chunk=c)
        for c in (2, 5, 64)
    ]
    assert sum(seen[: len(seen) // 3]) > 0
    for found in results:
        assert found.passes_run == 3 + 3 * 6 + 3 * 1 + 8 * 1, (
            "images, sets of each image, the wiped image, half of each map"
        )
        for pair, result in found.by_method["a"].items():
            np.testing.assert_allclose(result.value, results[0].by_method["a"][pair].value, atol=1e-6)


def test_shares_are_run_once_for_deletion_insertion_and_road() -> None:
    metrics = {
        "deletion": (deletion, {}),
        "insertion": (insertion, {}),
        "both": (insertion_minus_deletion, {}),
        "road": (road, {}),
    }
    found = of(numbers(1, 1, *SIZE), numbers(1, *SIZE, seed=5), {**BLACK, "blur": (blur, {})}, **metrics)
    assert found.passes_run == 1 + 2 * 39
    assert found.passes_requested == 1 + 2 * (20 + 20 + 39 + 8)


def test_unusable_maps_have_no_curve() -> None:
    raw = torch.stack([numbers(*SIZE), torch.full(SIZE, 0.3), numbers(*SIZE, seed=1)])
    found = run_battery(
        linear, numbers(1, 1, *SIZE), {"m": stored(raw)}, {"d": (deletion, {"steps": 2})}, BLACK, chunk=2
    )
    for curve in found.curves["m"].values():
        assert np.isnan(curve).tolist() == [False, True, False]
    assert_close(torch.tensor(found.by_method["m"]["d", "black"].value).isnan(), torch.tensor([False, True, False]))


@pytest.mark.parametrize("metric", [faithfulness_correlation, infidelity])
def test_sums_in_double_precision_are_asked_of_no_device_that_has_none(metric) -> None:
    draw = torch.Generator().manual_seed(0)

    def answers(kind: type[Tensor]) -> tuple[Scores, dict[str, Scores]]:
        draw.manual_seed(0)
        base, *sets = (Scores(*torch.rand(4, 5, generator=draw).as_subclass(kind)) for _ in range(21))
        return base, {f"random {number} of 0.2": one for number, one in enumerate(sets)}

    here, there = (metric.score(*answers(kind)).value for kind in (Tensor, SinglePrecisionTensor))
    assert here.dtype == torch.float64
    assert torch.equal(here, there)
