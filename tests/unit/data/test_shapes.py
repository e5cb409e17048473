"""The dataset of shapes: exact evidence, areas of closed form, balanced backgrounds, options, speed."""

import math
import time
from collections import Counter
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from gradfaith.data.manifest import build_manifest
from gradfaith.data.readers import shapes
from gradfaith.data.shapes import clutter, scene
from gradfaith.data.shapes.outlines import Outline
from gradfaith.data.split import split
from gradfaith.errors import DatasetInvalid

EVERY = list(shapes.CLASSES.values())


def images(**options: object) -> list[tuple[scene.SceneSpec, NDArray[np.uint8], NDArray[np.bool_]]]:
    chosen = shapes.Options.model_validate({"size": 96, "backgrounds": 2, **options})
    specs = [shapes.scene_spec(chosen, record) for record in shapes.index(None, chosen)]
    return [(spec, *scene.draw_scene(spec)) for spec in specs]


@pytest.mark.parametrize("options", [{}, {"texture": True}, {"shapes": 3}, {"size": 65}])
def test_an_image_differs_from_its_background_exactly_on_its_evidence(options: dict[str, object]) -> None:
    for spec, pixels, evidence in images(**options):
        bare = scene.draw_view(spec).clip(0, 255).astype(np.uint8)
        changed = (pixels != bare).any(axis=2)
        assert not (changed & ~evidence).any()
        assert (evidence & ~changed).sum() <= 1  # noise may have the shape's own colour at one pixel of some million


def test_evidence_has_the_area_and_the_centre_of_its_outline() -> None:
    area = {"circle": math.pi / 4, "square": 1.0, "triangle": 1 / math.sqrt(3)}
    for (form, hollow), angle in product(EVERY, (0.0, 0.4, 2.0)):
        outline = Outline(form, hollow, 80, angle, 100.3, 90.7)
        inside = np.zeros((200, 200), bool)
        inside[outline.window(200)] = outline.inside(outline.window(200))
        expected = area[form] * 80**2 * (1 - 0.6**2 if hollow else 1)
        assert inside.sum() == pytest.approx(expected, rel=0.02)
        assert np.argwhere(inside).mean(axis=0) == pytest.approx([90.7, 100.3], abs=0.3)


def test_a_turned_square_lies_where_its_corners_say() -> None:
    outline = Outline("square", False, 20, math.pi / 4, 30, 30)
    inside = np.zeros((61, 61), bool)
    inside[outline.window(61)] = outline.inside(outline.window(61))
    rows, columns = np.indices(inside.shape)
    assert np.array_equal(inside, np.abs(rows - 30) + np.abs(columns - 30) <= 10 * math.sqrt(2))


def test_sizes_are_those_of_the_manifest_and_every_background_has_every_class() -> None:
    options = shapes.Options(size=128, backgrounds=4)
    table = build_manifest(shapes, None, options, list(shapes.CLASSES))
    assert Counter(table["label"]) == dict.fromkeys(shapes.CLASSES, 12)
    assert (table.groupby(["group", "label", "lesion_kind"]).size() == 1).all()
    areas = table.groupby(["label", "lesion_kind"])["lesion_px"].agg(["min", "max"]).unstack()
    assert (areas["max", "small"] < areas["min", "medium"]).all()
    assert (areas["max", "medium"] < areas["min", "large"]).all()
    for record in shapes.index(None, options):
        spec = shapes.scene_spec(options, record)
        (outline, _), *others = scene.draw_outlines(spec)
        low, high = getattr(options, record.lesions[0].kind)
        assert not others
        assert 128 * low <= outline.size <= 128 * high
        assert outline.reach <= min(outline.x, outline.y)
        assert max(outline.x, outline.y) <= 127 - outline.reach


def test_no_background_is_in_two_parts() -> None:
    options = shapes.Options(size=40, backgrounds=12, images_per_class=1, small=(0.13, 0.15))
    table = build_manifest(shapes, None, options, list(shapes.CLASSES))
    parts = split(
        table, {"train": 0.5, "val": 0.25, "test": 0.25}, classes=list(shapes.CLASSES), tolerance=0.01, seed=0
    )
    merged = table.merge(parts, on="image_id")
    assert (merged.groupby("group")["part"].nunique() == 1).all()
    assert set(merged["group_kind"]) == {"background"}


def test_two_backgrounds_share_no_clutter_and_two_images_of_one_do() -> None:
    """Without noise, flips undone: the best overlap of two cuts of one background is far better than of two backgrounds."""
    options = shapes.Options(size=48, backgrounds=2, small=(0.2, 0.3), noise=(0, 0))
    views = [
        scene.draw_view(shapes.scene_spec(options, record)).mean(axis=2)
        for record in shapes.index(None, options)
        if int(record.image_id[-2:]) < 6
    ]

    def likeness(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
        patch = one[12:36, 12:36]
        flips = [other, other[::-1], other[:, ::-1], other[::-1, ::-1]]
        windows = np.concatenate([np.lib.stride_tricks.sliding_window_view(flip, (24, 24)) for flip in flips])
        flat = windows.reshape(-1, 24 * 24)
        centred = flat - flat.mean(axis=1, keepdims=True)
        own = (patch - patch.mean()).ravel()
        return float((centred @ own / (np.linalg.norm(centred, axis=1) * np.linalg.norm(own))).max())

    same = [max(likeness(views[i], views[j]) for j in range(6) if j != i) for i in range(6)]
    different = [max(likeness(views[i], views[j]) for j in range(6, 12)) for i in range(6)]
    assert np.median(same) > 0.9
    assert max(different) < 0.6


def test_a_bar_covers_its_share_and_is_no_evidence() -> None:
    options: dict[str, object] = {"size": 128, "images_per_class": 3}
    free, covered = images(**options), images(**options, occlusion=0.3)
    shares = []
    for (_, _, whole), (spec, pixels, rest) in zip(free, covered, strict=True):
        assert not (rest & ~whole).any()
        bare = scene.draw_view(spec).clip(0, 255).astype(np.uint8)
        beyond = (pixels != bare).any(axis=2) & ~whole
        assert beyond.any()  # the bar ends outside the shape
        shares.append(1 - rest.sum() / whole.sum())
    assert 0.2 < np.mean(shares) < 0.4


def test_several_shapes_are_all_evidence_and_keep_apart_where_they_fit() -> None:
    for spec, _, evidence in images(shapes=3, size=128):
        outlines = [outline for outline, _ in scene.draw_outlines(spec)]
        assert len(outlines) == 3
        if spec.sizes[1] < 0.2:
            alone = sum(int(one.inside(one.window(128)).sum()) for one in outlines)
            assert evidence.sum() == alone


def test_colours_keep_their_contrast() -> None:
    for spec, pixels, evidence in images(contrast=60):
        ground = scene.draw_view(spec)[evidence].mean(axis=0)
        colour = pixels[evidence].astype(float).mean(axis=0)
        assert math.sqrt(((colour - ground) ** 2).mean()) > 58  # one grey value is lost to rounding


def test_impossible_options_and_foreign_records_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"small is \[smallest, largest\], found \[0.2, 0.1\]"):
        shapes.Options(small=(0.2, 0.1))
    with pytest.raises(ValidationError, match=r"the smallest shape has 2\.5 pixels"):
        shapes.Options(size=32)
    options = shapes.Options(backgrounds=2)
    (last,) = [record for record in shapes.index(None, options) if record.image_id == "0001-17"]
    with pytest.raises(DatasetInvalid, match="is not an image of this dataset"):
        shapes.scene_spec(shapes.Options(backgrounds=1), last)


def test_a_hundred_images_a_second_at_224_pixels() -> None:
    options = shapes.Options(backgrounds=4)
    records = list(shapes.index(None, options))
    clutter.draw_background.cache_clear()
    start = time.process_time()
    for record in records:
        shapes.read(None, options, record, None)
    rate = len(records) / (time.process_time() - start)
    assert rate > 100, f"{rate:.0f} images per second of processor time"
