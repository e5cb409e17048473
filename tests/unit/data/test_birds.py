"""The generated birds and the reader of FunnyBirds: exact parts, images without parts, and what a class needs of its parts."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gradfaith.data import part_classes
from gradfaith.data.fit import Harmoniser
from gradfaith.data.pack import pack_images
from gradfaith.data.phantom.birds import CLASSES, OBJECTS, PARTS, draw_bird
from gradfaith.data.readers import birds, funnybirds
from gradfaith.errors import DatasetInvalid
from gradfaith.storage.hdf5 import ImageStore
from gradfaith.vocabulary import FIRST_SURROUNDING

OPTIONS = birds.Options(size=48, train=1, test=1)


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("part", range(1, 6))
def test_leaving_a_part_out_changes_its_pixels_and_no_others(number: int, part: int) -> None:
    whole, without = draw_bird(1, number, 64, CLASSES[2]), draw_bird(1, number, 64, CLASSES[2], (part,))
    changed = (whole.pixels != without.pixels).any(axis=2)
    assert not (without.parts == part).any()
    assert changed[whole.parts == part].mean() > 0.9
    near = np.array(Image.fromarray(whole.parts == part).resize((64, 64)))
    for shift in [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]:
        near = near | np.roll(whole.parts == part, shift, axis=(0, 1))
    assert not changed[~near].any()


def test_a_part_alone_tells_no_class_but_the_sets_that_are_called_sufficient_do() -> None:
    for own, kinds in enumerate(CLASSES):
        others = [other for place, other in enumerate(CLASSES) if place != own]
        sufficient = part_classes.sufficient_removals(kinds, others)
        for removed in part_classes.part_sets(len(PARTS)):
            kept = [place for place in range(len(PARTS)) if place + 1 not in removed]
            same = [other for other in others if all(other[place] == kinds[place] for place in kept)]
            assert (removed in sufficient) == (not same)
        assert (1, 2, 3, 4, 5) not in sufficient, "without parts, no class can be told"


def test_contrast_classes_share_two_parts_each_and_none_twice() -> None:
    for name, kinds in birds.KINDS.items():
        (first, one), (second, other) = part_classes.contrast_classes(name, birds.KINDS)
        assert len({name, first, second}) == 3
        assert len(one) == len(other) == 2
        assert not set(one) & set(other)
        assert one == part_classes.shared_parts(kinds, birds.KINDS[first])
    assert part_classes.contrast_classes("a", {"a": (0, 0, 0, 0, 0), "b": (0, 0, 1, 1, 1), "c": (0, 1, 0, 1, 1)}) == ()


def write_release(root: Path) -> Path:
    """Write the generated birds in the layout of FunnyBirds, with transparent pixels' channel as there."""
    for record in birds.index(None, OPTIONS):
        image = birds.read(None, OPTIONS, record, None)
        folder, place, name = Path(record.file).parts
        save(root / record.file, image.pixels)
        assert image.parts is not None
        colours = np.zeros((*image.parts.shape, 3), dtype=np.uint8)
        for colour, part in reversed(funnybirds.COLOURS.items()):
            colours[image.parts == PARTS.index(part) + 1] = colour
        if (eye := image.parts == 2).any():  # a bird from the front has two eyes
            colours[np.nonzero(eye)[0][0], np.nonzero(eye)[1][0]] = (255, 255, 254)
        for number in range(OBJECTS):
            colours[image.parts == FIRST_SURROUNDING + number] = (204, 204, 204 + number)
        save(root / f"{folder}_part_map" / place / name, colours)
        for removed, draw in (image.renders.without if image.renders else {}).items():
            kept = "_".join(part for number, part in enumerate(PARTS, 1) if number not in removed)
            is_object = removed[0] >= FIRST_SURROUNDING
            file = f"background_interventions/{removed[0] - FIRST_SURROUNDING}.png" if is_object else f"body_{kept}.png"
            save(root / f"{folder}_interventions" / place / Path(name).stem / file, draw())
    classes = [
        {"class_idx": place, "parts": dict(zip(PARTS, kinds, strict=True))} for place, kinds in enumerate(CLASSES)
    ]
    (root / "classes.json").write_text(json.dumps(classes))
    (root / "parts.json").write_text(
        json.dumps({part: [{"model": kind} for kind in "abc"] for part in reversed(PARTS)})
    )
    return root


def save(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    opaque = np.full((*pixels.shape[:2], 1), 255, dtype=np.uint8)
    Image.fromarray(np.concatenate([pixels, opaque], axis=2)).save(file)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("release") / "FunnyBirds").parent


def test_the_release_is_read_as_it_was_drawn(release: Path) -> None:
    drawn = {record.image_id: record for record in birds.index(None, OPTIONS)}
    records = list(funnybirds.index(release, funnybirds.Options()))
    assert {record.image_id: record.label for record in records} == {name: one.label for name, one in drawn.items()}
    for record in records:
        found = funnybirds.read(release, funnybirds.Options(), record, None)
        expected = birds.read(None, OPTIONS, drawn[record.image_id], None)
        np.testing.assert_array_equal(found.pixels, expected.pixels)
        np.testing.assert_array_equal(found.parts, expected.parts)
        np.testing.assert_array_equal(found.masks["evidence"], expected.masks["evidence"])
        assert (found.renders is None) == (expected.renders is None) == record.image_id.startswith("train")
        if found.renders and expected.renders:
            assert found.renders.without.keys() == expected.renders.without.keys()
            assert (found.renders.sufficient, found.renders.contrast) == (
                expected.renders.sufficient,
                expected.renders.contrast,
            )
            for removed, draw in expected.renders.without.items():
                np.testing.assert_array_equal(found.renders.without[removed](), draw())


def test_a_class_that_the_list_lacks_and_a_lost_part_map_are_refused(release: Path, tmp_path: Path) -> None:
    whole = write_release(tmp_path)
    next((whole / "train_part_map/3").glob("*.png")).unlink()
    with pytest.raises(DatasetInvalid, match="has no part map"):
        list(funnybirds.index(whole, funnybirds.Options()))
    (whole / "classes.json").write_text("[]")
    with pytest.raises(DatasetInvalid, match=r"classes\.json does not have"):
        list(funnybirds.index(whole, funnybirds.Options()))
    (whole / "classes.json").write_text("{")
    with pytest.raises(DatasetInvalid, match="cannot be read"):
        list(funnybirds.index(whole, funnybirds.Options()))


def test_the_store_keeps_the_images_without_parts(tmp_path: Path) -> None:
    table = pd.DataFrame({"image_id": [record.image_id for record in birds.index(None, OPTIONS)]})
    table["part"] = table["image_id"].str.split("/").str[0]
    path = tmp_path / "images.h5"
    pack_images(str(path), table, birds, None, OPTIONS, size=32, fit="pad", channels=3, harmonise=Harmoniser())
    with ImageStore(path) as images:
        renders = images.renders()
        assert set(renders["image_id"]) == set(table.loc[table["part"] == "test", "image_id"])
        assert (renders.groupby("image_id")["removed"].nunique() >= 31).all()
        assert (
            renders.groupby("image_id")["shared"].apply(lambda shared: sorted(set(shared))).tolist() == [[0, 1, 2]] * 6
        )
        last = images.render_pixels(np.array([len(renders) - 1, 0]))
        assert last.shape == (2, 3, 32, 32)
        assert (last[1] != images.pixels([renders["image_id"][0]])[0]).any()
        assert images.contrast(list(table["image_id"]))[0] == ("", "")
        first, second = images.contrast([renders["image_id"].iloc[0]])[0]
        assert {first, second} < set(birds.NAMES)
