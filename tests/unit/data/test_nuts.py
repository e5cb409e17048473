"""The generated nuts: exact masks, defects on the nut only, and nothing but the defect tells the classes apart."""

import numpy as np
import pytest

from gradfaith.data.phantom import nuts
from gradfaith.data.readers import nuts as reader

SIZE = 96


def difference(number: int, defect: nuts.Defect) -> tuple[np.ndarray, np.ndarray]:
    """Return the mask of a defect, and the change of every pixel against the same nut without it."""
    with_defect, sound = nuts.draw_nut(3, number, SIZE, defect), nuts.draw_nut(3, number, SIZE)
    change = np.abs(with_defect.pixels.astype(int) - sound.pixels.astype(int)).sum(axis=2)
    return with_defect.defect, change


@pytest.mark.parametrize("defect", nuts.DEFECTS)
def test_a_mask_holds_the_pixels_of_the_defect_and_no_others(defect: nuts.Defect) -> None:
    for number in range(12):
        mask, change = difference(number, defect)
        assert 20 < mask.sum() < 0.06 * SIZE**2
        near = np.zeros_like(mask)
        for shift in [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]:
            near |= np.roll(mask, shift, axis=(0, 1))
        assert not change[~near].any(), "a pixel further than one from the mask changed"
        assert (change[mask] > 0).mean() > 0.95, "a pixel of the mask looks as it did without the defect"


@pytest.mark.parametrize("defect", nuts.DEFECTS)
def test_a_defect_lies_on_the_nut(defect: nuts.Defect) -> None:
    """The table is darker than any shell; the ring around a mask is mostly shell."""
    for number in range(12):
        mask = nuts.draw_nut(3, number, SIZE, defect).defect
        sound = nuts.draw_nut(3, number, SIZE).pixels
        red_over_blue = sound[..., 0].astype(float) - sound[..., 2]  # positive on the brown nut, negative on the table
        assert (red_over_blue[mask] > 0).mean() > 0.8


def test_a_sound_nut_has_no_mask_and_every_image_is_its_own() -> None:
    assert not nuts.draw_nut(0, 1, SIZE).defect.any()
    options = reader.Options(size=32, good=3, train_good=3, defects=3)
    records = list(reader.index(None, options))
    images = [reader.read(None, options, record, None).pixels for record in records]
    assert len({image.tobytes() for image in images}) == len(records) == 18
    again = [reader.read(None, options, record, "test").pixels for record in reversed(records)]
    assert all(np.array_equal(one, other) for one, other in zip(images, reversed(again), strict=True))
    other = reader.Options(size=32, good=3, train_good=3, defects=3, seed=1)
    assert not np.array_equal(reader.read(None, other, records[0], None).pixels, images[0])


def test_colours_of_the_whole_image_do_not_tell_the_classes_apart() -> None:
    """A defect covers few pixels: the mean colour of a nut varies more between nuts than between classes."""
    means = {kind: [nuts.draw_nut(5, n, 48, kind).pixels.mean() for n in range(30)] for kind in (None, *nuts.DEFECTS)}
    spread = np.std(means[None])
    assert all(abs(np.mean(values) - np.mean(means[None])) < spread for values in means.values())
