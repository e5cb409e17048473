"""Agreement: IoU by hand, and the runner over seeds against literal twins."""

import numpy as np
import pytest

from gradfaith.errors import StudyInvalid
from gradfaith.metrics.agree import Stacks, agree, choose_partners
from gradfaith.metrics.agreement import consist

CONSIST = {"consist": (consist, {})}


def stacks(seeds=(3, 1, 2), groups=4, each=3, size=(6, 7), order=None):
    """Two classes; the images of a group share their class."""
    rng = np.random.default_rng(0)
    count = groups * each
    order = np.arange(count) if order is None else order
    unit = rng.random((len(seeds), count, *size))
    names, of_group = np.array([f"image {row}" for row in range(count)]), np.repeat(np.arange(groups), each)
    none = np.zeros((len(seeds), count), dtype=bool)
    return Stacks(
        unit[:, order], none, none.copy(), seeds, names[order], [f"g{g}" for g in of_group[order]], of_group[order] % 2
    )


def iou(a, b, threshold=0.5):
    here, there = set(np.flatnonzero(a >= threshold)), set(np.flatnonzero(b >= threshold))
    return len(here & there) / len(here | there)


def by_key(found):
    return {(one.variant, one.seed, one.seed2): one.result for one in found}


def test_consist_by_hand():
    first, second = np.array([[[1.0, 0.5], [0.0, 0.4]]]), np.array([[[0.9, 0.1], [0.7, 0.6]]])
    assert consist.score(first, second).value == pytest.approx([1 / 4])
    assert consist.score(first, second, threshold=0.4).value == pytest.approx([2 / 4])
    assert consist.score(first, first).value == pytest.approx([1])


def test_two_empty_maps_have_no_iou_and_one_empty_map_has_zero():
    low, high = np.full((1, 2, 2), 0.1), np.ones((1, 2, 2))
    assert consist.score(low, low).undefined.tolist() == [True]
    assert consist.score(low, high).undefined.tolist() == [False]
    assert consist.score(low, high).value.tolist() == [0]


def test_consist_asks_nobodys_order():
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 8, 5, 5))
    np.testing.assert_array_equal(consist.score(a, b).value, consist.score(b, a).value)


def test_the_reference_is_the_lowest_seed_and_is_not_compared_with_itself():
    found = by_key(agree(stacks(), CONSIST))
    assert {key[1:] for key in found if key[0] == "reference"} == {(2, 1), (3, 1)}
    assert {key[1:] for key in found if key[0] == "pairs"} == {(1, 2), (1, 3), (2, 3)}
    assert {key[1:] for key in found if key[0] == "between-images"} == {(1, 2), (1, 3), (2, 3)}


def test_pairs_agree_with_a_literal_twin():
    given = stacks()
    found, row_of = by_key(agree(given, CONSIST)), {seed: row for row, seed in enumerate(given.seeds)}
    for (variant, seed, seed2), result in found.items():
        if variant != "between-images":
            pairs = zip(given.unit[row_of[seed]], given.unit[row_of[seed2]], strict=True)
            assert result.value == pytest.approx([iou(a, b) for a, b in pairs])


def test_between_images_is_the_mean_over_partners_and_agrees_with_a_literal_twin():
    given = stacks()
    found = by_key(agree(given, CONSIST, partners=2, key=("s",)))["between-images", 1, 2]
    partners = choose_partners(given, 2, ("s",))
    for row, value in enumerate(found.value):
        assert value == pytest.approx(
            np.mean([iou(given.unit[1, row], given.unit[2, other]) for other in partners[row]])
        )


def test_partners_share_the_class_never_the_group_and_none_comes_twice():
    given = stacks(groups=8)
    for row, partners in enumerate(choose_partners(given, 5, ("s",))):
        assert len(set(partners)) == 5
        for other in partners:
            assert given.labels[other] == given.labels[row]
            assert given.groups[other] != given.groups[row]


def test_where_there_are_fewer_partners_all_are_taken():
    given = stacks()  # two groups per class, three images each
    partners = choose_partners(given, 8, ("s",))
    assert ((partners >= 0).sum(axis=1) == 3).all()


def test_partners_do_not_depend_on_the_order_of_the_images():
    order = np.random.default_rng(5).permutation(24)
    straight, mixed = stacks(groups=8), stacks(groups=8, order=order)
    named = [
        {
            image: [given.image_ids[other] for other in others]
            for image, others in zip(given.image_ids, drawn, strict=True)
        }
        for given, drawn in ((given, choose_partners(given, 3, ("s",))) for given in (straight, mixed))
    ]
    assert named[0] == named[1]
    assert not np.array_equal(choose_partners(straight, 3, ("s",)), choose_partners(straight, 3, ("other",)))


def test_an_image_alone_in_its_class_has_no_chance_level():
    given = stacks(groups=2)
    result = by_key(agree(given, CONSIST))["between-images", 1, 2]
    assert set(result.status) == {"undefined"}
    assert "another group" in result.reason[0]


def test_constant_and_broken_maps_have_their_status_and_are_nobodys_partner():
    given = stacks()
    given.degenerate[1, 0], given.broken[2, 1] = True, True
    given.unit[1, 0], given.unit[2, 1] = 0, 0
    found = by_key(agree(given, CONSIST))
    assert found["pairs", 1, 2].status[:3].tolist() == ["degenerate", "failed", "ok"]
    assert found["pairs", 1, 3].status[:3].tolist() == ["degenerate", "ok", "ok"]
    between = found["between-images", 1, 2]
    assert between.status[:3].tolist() == ["degenerate", "ok", "ok"]
    row = next(row for row in range(12) if given.labels[row] == 0 and given.groups[row] != given.groups[1])
    fit = [other for other in range(12) if given.groups[other] == given.groups[1] and other != 1]
    assert between.value[row] == pytest.approx(np.mean([iou(given.unit[1, row], given.unit[2, o]) for o in fit]))


def test_a_method_of_constant_maps_has_no_agreement_at_all():
    given = stacks()
    given.degenerate[:] = True
    found = agree(given, CONSIST)
    assert all(set(one.result.status) == {"degenerate"} for one in found)
    assert all(np.isnan(one.result.value).all() for one in found)


def test_models_that_agree_perfectly_still_differ_between_images():
    given = stacks(groups=8, size=(12, 12))
    given.unit[1:] = given.unit[0]
    found = by_key(agree(given, CONSIST))
    assert (found["reference", 2, 1].value == 1).all()
    assert found["between-images", 1, 2].value.max() < 0.6


def test_one_seed_is_refused():
    with pytest.raises(StudyInvalid, match="one seed"):
        agree(stacks(seeds=(4,)), CONSIST)
