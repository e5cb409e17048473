"""Shapes with boxes: the evidence is the box around each shape, and nothing else of the image changes."""

import numpy as np

from gradfaith.data.readers import shapes
from gradfaith.data.readers.shapes import Options, fill_boxes


def test_a_box_reaches_from_the_first_to_the_last_pixel_of_each_part() -> None:
    mask = np.zeros((8, 9), dtype=bool)
    mask[1, 2] = mask[2, 3] = mask[3, 2] = True  # connected over corners
    mask[6, 7] = True
    expected = np.zeros_like(mask)
    expected[1:4, 2:4] = expected[6, 7] = True
    np.testing.assert_array_equal(fill_boxes(mask), expected)


def test_boxes_change_the_evidence_only() -> None:
    plain, boxed = Options(size=96, backgrounds=1), Options(size=96, backgrounds=1, boxes=True)
    for one, other in zip(shapes.index(None, plain), shapes.index(None, boxed), strict=True):
        image, framed = shapes.read(None, plain, one, None), shapes.read(None, boxed, other, None)
        np.testing.assert_array_equal(image.pixels, framed.pixels)
        assert (one.evidence, other.evidence) == ("mask", "box")
        assert not (image.masks["evidence"] & ~framed.masks["evidence"]).any()
        rows, columns = np.nonzero(image.masks["evidence"])
        assert framed.masks["evidence"].sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
