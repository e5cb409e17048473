"""Agreement: IoU by hand, and the runner over seeds against literal twins."""

import numpy as np
import pytest

from gradfaith.errors import StudyInvalid
from gradfaith.metrics.agreement import consist
from gradfaith.metrics.runners.agreement import ComparedImages, ModelMaps, choose_partners, compare_seeds

CONSIST = {"consist": (consist, {})}


class SeedMaps:
    """Maps of several seeds, and what is known of their images; two classes, the images of a group share theirs."""

    def __init__(self, seeds=(3, 1, 2), groups=4, each=3, size=(6, 7), order=None):
        rng, count = np.random.default_rng(0), groups * each
        order = np.arange(count) if order is None else order
        names, of_group = np.array([f"image {row}" for row in range(count)])[order], np.repeat(np.arange(groups), each)
        self.seeds, self.size, self.unit = seeds, size, rng.random((len(seeds), count, *size))[:, order]
        self.unit[:, :, 0, 0], self.unit[:, :, -1, -1] = 0, 1  # evaluated maps reach from 0 to 1
        self.images = ComparedImages(list(names), [f"g{g}" for g in of_group[order]], list(of_group[order] % 2))

    @property
    def models(self):
        ids = self.images.image_ids
        return {
            seed: ModelMaps(maps, "input", False, self.size, ids)
            for seed, maps in zip(self.seeds, self.unit, strict=True)
        }


def consistent(given, **how):
    """Consist of every pair, by variant and seeds."""
    return by_key(compare_seeds(given.models, given.images, CONSIST, **how))


def score(first, second, **options):
    return consist.score(consist.ready(first, **options), consist.ready(second, **options))


def iou(a, b, threshold=0.5):
    here, there = set(np.flatnonzero(a >= threshold)), set(np.flatnonzero(b >= threshold))
    return len(here & there) / len(here | there)


def by_key(found):
    return {(one.variant, one.seed, one.seed2): one.result for one in found}


def test_consist_by_hand():
    first, second = np.array([[[1.0, 0.5], [0.0, 0.4]]]), np.array([[[0.9, 0.1], [0.7, 0.6]]])
    assert score(first, second).value == pytest.approx([1 / 4])
    assert score(first, second, threshold=0.4).value == pytest.approx([2 / 4])
    assert score(first, first).value == pytest.approx([1])


def test_two_empty_maps_have_no_iou_and_one_empty_map_has_zero():
    low, high = np.full((1, 2, 2), 0.1), np.ones((1, 2, 2))
    assert score(low, low).undefined.tolist() == [True]
    assert score(low, high).undefined.tolist() == [False]
    assert score(low, high).value.tolist() == [0]


def test_consist_asks_nobodys_order():
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 8, 5, 5))
    np.testing.assert_array_equal(score(a, b).value, score(b, a).value)


def test_the_reference_is_the_lowest_seed_and_is_not_compared_with_itself():
    found = consistent(SeedMaps())
    assert {key[1:] for key in found if key[0] == "reference"} == {(2, 1), (3, 1)}
    assert {key[1:] for key in found if key[0] == "pairs"} == {(1, 2), (1, 3), (2, 3)}
    assert {key[1:] for key in found if key[0] == "between-images"} == {(1, 2), (1, 3), (2, 3)}


def test_pairs_agree_with_a_literal_twin():
    given = SeedMaps()
    found, row_of = consistent(given), {seed: row for row, seed in enumerate(given.seeds)}
    for (variant, seed, seed2), result in found.items():
        if variant != "between-images":
            pairs = zip(given.unit[row_of[seed]], given.unit[row_of[seed2]], strict=True)
            assert result.value == pytest.approx([iou(a, b) for a, b in pairs])


def test_between_images_is_the_mean_over_partners_and_agrees_with_a_literal_twin():
    given = SeedMaps()
    found = consistent(given, partners=2, key=("s",))["between-images", 1, 2]
    partners = choose_partners(given.images, 2, ("s",))
    for row, value in enumerate(found.value):
        assert value == pytest.approx(
            np.mean([iou(given.unit[1, row], given.unit[2, other]) for other in partners[row]])
        )


def test_partners_share_the_class_never_the_group_and_none_comes_twice():
    given = SeedMaps(groups=8)
    for row, partners in enumerate(choose_partners(given.images, 5, ("s",))):
        assert len(set(partners)) == 5
        for other in partners:
            assert given.images.labels[other] == given.images.labels[row]
            assert given.images.groups[other] != given.images.groups[row]


def test_where_there_are_fewer_partners_all_are_taken():
    given = SeedMaps()  # two groups per class, three images each
    partners = choose_partners(given.images, 8, ("s",))
    assert ((partners >= 0).sum(axis=1) == 3).all()


def test_partners_do_not_depend_on_the_order_of_the_images():
    order = np.random.default_rng(5).permutation(24)
    straight, mixed = SeedMaps(groups=8), SeedMaps(groups=8, order=order)
    named = [
        {
            image: [given.images.image_ids[other] for other in others]
            for image, others in zip(given.images.image_ids, drawn, strict=True)
        }
        for given, drawn in ((given, choose_partners(given.images, 3, ("s",))) for given in (straight, mixed))
    ]
    assert named[0] == named[1]
    assert not np.array_equal(
        choose_partners(straight.images, 3, ("s",)), choose_partners(straight.images, 3, ("other",))
    )


def test_an_image_alone_in_its_class_has_no_chance_level():
    given = SeedMaps(groups=2)
    result = consistent(given)["between-images", 1, 2]
    assert set(result.status) == {"undefined"}
    assert "another group" in result.reason[0]


def test_constant_and_broken_maps_have_their_status_and_are_nobodys_partner():
    given = SeedMaps()
    given.unit[1, 0], given.unit[2, 1, 3, 3] = 0, np.nan
    found = consistent(given)
    assert found["pairs", 1, 2].status[:3].tolist() == ["degenerate", "failed", "ok"]
    assert found["pairs", 1, 3].status[:3].tolist() == ["degenerate", "ok", "ok"]
    between = found["between-images", 1, 2]
    assert between.status[:3].tolist() == ["degenerate", "ok", "ok"]
    row = next(
        row for row in range(12) if given.images.labels[row] == 0 and given.images.groups[row] != given.images.groups[1]
    )
    fit = [other for other in range(12) if given.images.groups[other] == given.images.groups[1] and other != 1]
    assert between.value[row] == pytest.approx(np.mean([iou(given.unit[1, row], given.unit[2, o]) for o in fit]))


def test_a_method_of_constant_maps_has_no_agreement_at_all():
    given = SeedMaps()
    given.unit[:] = 0.5
    found = list(compare_seeds(given.models, given.images, CONSIST))
    assert all(set(one.result.status) == {"degenerate"} for one in found)
    assert all(np.isnan(one.result.value).all() for one in found)


def test_models_that_agree_perfectly_still_differ_between_images():
    given = SeedMaps(groups=8, size=(12, 12))
    given.unit[1:] = given.unit[0]
    found = consistent(given)
    assert (found["reference", 2, 1].value == 1).all()
    assert found["between-images", 1, 2].value.max() < 0.6


def test_one_seed_is_refused():
    with pytest.raises(StudyInvalid, match="at least two seeds"):
        compare_seeds(SeedMaps(seeds=(4,)).models, SeedMaps().images, CONSIST)
