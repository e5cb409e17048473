"""The photographs of scikit-image as a dataset: seeded square cuts, one group per photograph."""

import numpy as np
from skimage import data

from gradfaith.data.readers import photographs


def records(**options):
    settings = photographs.Options(**options)
    return settings, list(photographs.index(None, settings))


def test_every_cut_is_a_square_piece_of_its_photograph():
    settings, found = records(cuts=4)
    assert [record.label for record in found] == ["cup"] * 4 + ["cat"] * 4 + ["rocket"] * 4
    assert {record.group_kind for record in found} == {"photograph"}
    for record in found:
        pixels = photographs.read(None, settings, record, None).pixels
        whole = getattr(data, record.group)()
        side = len(pixels)
        assert pixels.shape == (side, side, 3)
        assert 0.75 * min(whole.shape[:2]) - 1 <= side <= min(whole.shape[:2])
        places = np.argwhere((whole[: len(whole) - side + 1, : whole.shape[1] - side + 1] == pixels[0, 0]).all(2))
        assert any(np.array_equal(whole[y : y + side, x : x + side], pixels) for y, x in places)


def test_the_first_cut_is_the_middle_and_all_are_reproducible():
    settings, found = records(cuts=2)
    first, second = (photographs.read(None, settings, record, None).pixels for record in found[:2])
    assert np.array_equal(first, data.coffee()[:, 100:500])
    again = photographs.read(None, settings, found[1], "test").pixels
    assert np.array_equal(second, again)
    other, _ = records(cuts=2, seed=1)
    assert not np.array_equal(
        photographs.read(None, other, found[1], None).pixels.shape, second.shape
    ) or not np.array_equal(photographs.read(None, other, found[1], None).pixels, second)
