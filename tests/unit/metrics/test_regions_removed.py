"""Region correctness and contrastivity by hand, on models that are known to the pixel; and the decoys they stand on."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import Tensor

from gradfaith.errors import StudyInvalid
from gradfaith.metrics.contract import FIRST_DECOY, MethodMaps
from gradfaith.metrics.faithfulness import contrastivity, region_correctness
from gradfaith.metrics.imputers import black
from gradfaith.metrics.maps.removals import EVIDENCE, SHORTCUT, number_regions
from gradfaith.metrics.runners.masking import run_battery

BLACK = {"black": (black, {})}
CORRECTNESS = {"r": (region_correctness, {})}
CONTRAST = {"c": (contrastivity, {})}


class Weighing:
    """Class c has the sum of its own weights times the pixels for a logit; it counts what it is shown."""

    def __init__(self, *weights: Tensor) -> None:  # each (h, w)
        self.weights, self.seen = torch.stack(weights), 0

    def __call__(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return torch.einsum("nhw,khw->nk", images[:, 0], self.weights.to(images.dtype))


def strips(*values: float, side: int = 4) -> Tensor:
    """A picture of strips two columns wide."""
    return torch.tensor(values, dtype=torch.float32).repeat_interleave(2).expand(side, -1).clone()


def four(labels=(1, 2, 3, 4)) -> Tensor:
    return strips(*labels).to(torch.uint8)[None]


def asked(model, raw, regions, metrics=CORRECTNESS, target=0, image=None, **given):
    raw = torch.as_tensor(raw)[None] if torch.as_tensor(raw).ndim == 2 else torch.as_tensor(raw)
    image = torch.ones(1, 1, *regions.shape[1:]) if image is None else image
    zero, classes = torch.zeros(len(raw), dtype=torch.long), torch.full((len(raw),), target)
    stored = MethodMaps(raw, "input", False, zero, classes, given.pop("rival", None), given.pop("against", None))
    return run_battery(model, image, {"m": stored}, metrics, BLACK, regions=regions, **given).by_method["m"]


def correctness(model, raw, regions, **given):
    return asked(model, raw, regions, **given)["r", "black"]


def test_by_hand():
    """The model loses 8, 16, 24, 32 by the four strips; maps that put them in other orders."""
    model = Weighing(strips(1, 2, 3, 4), strips(0, 0, 0, 0))
    assert correctness(model, strips(0, 1, 2, 3), four()).value == pytest.approx([1])
    assert correctness(model, strips(3, 2, 1, 0), four()).value == pytest.approx([-1])
    assert correctness(model, strips(0, 1, 3, 2), four()).value == pytest.approx([0.8])
    tied = spearmanr([0, 0, 1, 1], [1, 2, 3, 4]).statistic
    assert correctness(model, strips(0, 0, 1, 1), four()).value == pytest.approx([tied])


def test_a_model_that_sums_one_region_and_a_map_of_it_are_right():
    """What neither reads is one tie on both sides, not an order made of rounding."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, 4, 8, generator=generator)
    model = Weighing(strips(0, 0.37, 0, 0), strips(0.1, 0.1, 0.1, 0.1))
    assert correctness(model, strips(0, 1, 0, 0), four(), image=image).value == pytest.approx([1])
    assert correctness(model, strips(0, 0, 1, 0), four(), image=image).value == pytest.approx([-1 / 3])


def test_the_mean_counts_and_not_the_sum():
    """A large region with a little everywhere holds more of the map than a small one with much."""
    regions = torch.zeros(1, 4, 8, dtype=torch.uint8)
    regions[0, :, :6], regions[0, 0, 7] = 1, 2
    raw = torch.zeros(4, 8)
    raw[:, :6], raw[0, 7] = 0.4, 1.0
    model = Weighing(torch.where(regions[0] == 2, 30.0, 0.0), torch.zeros(4, 8))
    assert correctness(model, raw, regions).value == pytest.approx([1])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 7))
def test_it_is_the_literal_twin(seed, count):
    draw = np.random.default_rng(seed)
    labels = torch.from_numpy(draw.integers(0, count + 1, (1, 9, 9)).astype(np.uint8))
    labels[0, 0, : count + 1] = torch.arange(count + 1, dtype=torch.uint8)
    weights, raw, image = (torch.from_numpy(draw.random((9, 9))) for _ in range(3))
    found = correctness(Weighing(weights, 0 * weights), raw, labels, image=image[None, None])
    unit = (raw - raw.min()) / (raw.max() - raw.min())
    means, drops = [], []
    for label in range(1, count + 1):
        inside = [(y, x) for y in range(9) for x in range(9) if labels[0, y, x] == label]
        means.append(sum(float(unit[at]) for at in inside) / len(inside))
        drops.append(sum(float(weights[at] * image[at]) for at in inside))
    assume(
        min(b - a for side in (means, drops) for a, b in pairwise(sorted(side))) > 1e-3
    )  # single precision ranks no nearer
    assert found.value == pytest.approx([spearmanr(means, drops).statistic], abs=1e-6)


@pytest.mark.parametrize(
    ("regions", "raw", "weights", "reason"),
    [
        (four((0, 1, 1, 0)), strips(0, 1, 2, 3), strips(1, 2, 3, 4), region_correctness.FEW),
        (four((0, 0, 0, 0)), strips(0, 1, 2, 3), strips(1, 2, 3, 4), region_correctness.FEW),
        (four(), strips(0, 1, 2, 3), strips(1, 1, 1, 1), region_correctness.LEVEL),  # nothing stands out for the model
        (four((1, 0, 2, 0)), strips(1, 0, 1, 0), strips(1, 2, 3, 4), region_correctness.LEVEL),  # nor in the map
    ],
)
def test_without_two_regions_that_differ_there_is_no_order(regions, raw, weights, reason):
    result = correctness(Weighing(weights, 0 * weights), raw, regions)
    assert result.status.tolist() == ["undefined"]
    assert result.reason.tolist() == [reason]


def test_regions_are_removed_once_per_image_whatever_the_number_of_maps():
    model, raw = Weighing(strips(1, 2, 3, 4), strips(0, 0, 0, 0)), torch.rand(7, 4, 8)
    asked(model, raw, four(), metrics=CORRECTNESS | CONTRAST, rival=torch.rand(7, 4, 8), against=torch.ones(7).long())
    assert model.seen == 1 + 4


@pytest.mark.parametrize("chunk", [1, 3, "auto"])
def test_images_with_other_regions_do_not_disturb_each_other(chunk):
    generator = torch.Generator().manual_seed(3)
    regions = torch.cat([four(), four((0, 0, 5, 5)), four((2, 7, 0, 9))])
    images, raw = torch.rand(3, 1, 4, 8, generator=generator), torch.rand(6, 4, 8, generator=generator)
    model = Weighing(strips(1, 2, 3, 4), strips(0, 0, 0, 0))
    rows, classes = torch.tensor([0, 1, 2, 0, 1, 2]), torch.zeros(6, dtype=torch.long)
    stored = {"m": MethodMaps(raw, "input", False, rows, classes)}
    found = run_battery(model, images, stored, CORRECTNESS, BLACK, regions=regions, chunk=chunk).by_method["m"][
        "r", "black"
    ]
    assert found.status.tolist() == ["ok", "undefined", "ok"] * 2
    for row in (0, 2, 3, 5):
        alone = correctness(model, raw[row], regions[rows[row]][None], image=images[rows[row]][None])
        assert found.value[row] == pytest.approx(alone.value[0])


def test_a_metric_of_regions_without_regions_is_refused():
    with pytest.raises(StudyInvalid, match="regional metric"):
        run_battery(
            Weighing(strips(1, 2), strips(0, 0)), torch.ones(1, 1, 4, 4),
            {"m": MethodMaps(torch.rand(1, 4, 4), "input", False, torch.tensor([0]), torch.tensor([0]))}, CORRECTNESS, BLACK,
        )  # fmt: skip


APART = strips(0, 3, 0, 1), strips(2, 0, 1, 0)


def contrast(own, rival, weights=APART, regions=None):
    given = {"rival": rival[None], "against": torch.tensor([1])}
    return asked(Weighing(*weights), own, four() if regions is None else regions, metrics=CONTRAST, **given)[
        "c", "black"
    ]


def test_contrastivity_by_hand():
    """The first class hangs on strip 2, the second on strip 1."""
    on_two, on_one, both = strips(0, 1, 0, 0), strips(1, 0, 0, 0), strips(1, 1, 0, 0)
    assert contrast(on_two, on_one).value == pytest.approx([1])
    assert contrast(on_one, on_two).value == pytest.approx([0])
    assert contrast(both, both).value == pytest.approx([0.5]), "a method that shows every class the same map"
    assert contrast(on_two, both).value == pytest.approx([1])
    assert contrast(strips(1, 3, 0, 0), strips(1, 3, 1, 0)).value == pytest.approx([0.5]), (
        "ahead at one, behind at the other"
    )
    assert contrast(on_two, on_two * 0.3).value == pytest.approx([0.5]), "the size of a map says nothing"


def test_contrastivity_needs_two_maps_and_two_regions():
    own, other, nothing = strips(0, 1, 0, 0), strips(1, 0, 0, 0), strips(0, 0, 0, 0)
    broken = torch.full_like(other, torch.nan)
    same = (strips(0, 3, 0, 1), strips(1, 2, 0, 0))
    harmless = (strips(0, 3, 0, 1), strips(-1, 0, 0, 0))
    for result, reason in (
        (contrast(own, nothing), contrastivity.ONE_MAP),
        (contrast(own, broken), contrastivity.ONE_MAP),
        (contrast(own, other, weights=same), contrastivity.SAME),
        (contrast(own, other, weights=harmless), contrastivity.NONE),
        (contrast(own, other, regions=four((0, 0, 0, 0))), contrastivity.NONE),
        (contrast(own, other, regions=four((1, 1, 0, 0))), contrastivity.SAME),
    ):
        assert result.status.tolist() == ["undefined"]
        assert result.reason.tolist() == [reason]


def disc(size=40, at=(12, 15), radius=4):
    y, x = np.mgrid[:size, :size]
    return np.hypot(y - at[0], x - at[1]) <= radius


def draw_regions(evidence, body=None, shortcut=None, count=5, seed=0):
    nothing = np.zeros_like(evidence)
    shortcut, body = nothing if shortcut is None else shortcut, nothing if body is None else body
    return number_regions(evidence, shortcut, body, count, np.random.default_rng(seed))


def test_decoys_have_the_shape_of_the_evidence_and_lie_in_the_body_on_nothing_else():
    y, x = np.mgrid[:40, :40]
    body, evidence, shortcut = np.hypot(y - 20, x - 20) < 18, disc(), disc(at=(3, 3), radius=2)
    evidence[11:14, 20] = True  # a spicule
    found = draw_regions(evidence, body, shortcut)
    assert set(np.unique(found)) == {0, EVIDENCE, SHORTCUT, *range(FIRST_DECOY, FIRST_DECOY + 5)}
    np.testing.assert_array_equal(found == EVIDENCE, evidence)
    np.testing.assert_array_equal(found == SHORTCUT, shortcut)
    rows, columns = np.nonzero(evidence)
    for number in range(FIRST_DECOY, FIRST_DECOY + 5):
        own = found == number
        there = np.nonzero(own)
        assert body[own].all()
        shifts = {(a - c, b - d) for a, b, c, d in zip(*there, rows, columns, strict=True)}
        assert len(shifts) == 1, "the same shape, moved"


def test_fewer_decoys_are_the_first_of_many_and_where_there_is_no_room_there_are_fewer():
    many, few = draw_regions(disc(), count=5), draw_regions(disc(), count=2)
    np.testing.assert_array_equal(np.where(many >= FIRST_DECOY + 2, 0, many), few)
    assert not np.array_equal(many, draw_regions(disc(), seed=1))
    crowded = draw_regions(disc(size=20, at=(9, 9), radius=7))
    assert set(np.unique(crowded)) == {0, EVIDENCE}
    assert not draw_regions(np.zeros((9, 9), dtype=bool)).any()


def test_every_place_is_as_likely():
    """A one-pixel lesion in a strip of ten: each of the other nine is chosen about as often."""
    lesion = np.zeros((1, 10), dtype=bool)
    lesion[0, 0] = True
    counts = sum((draw_regions(lesion, count=1, seed=seed) == FIRST_DECOY).astype(int) for seed in range(1800))[0]
    assert counts[0] == 0
    assert abs(counts[1:] - 200).max() < 4 * np.sqrt(1800 / 9)
