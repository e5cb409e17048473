"""The phantom reader: records, determinism, parts of the split, shortcuts, refusals."""

import numpy as np
import pytest
from pydantic import ValidationError

from gradfaith.data.phantom import chest, decoys, lesion_paint, lesions, lung_trees, scanner
from gradfaith.data.readers import phantom
from gradfaith.data.readers.contract import Record
from gradfaith.errors import DatasetInvalid

SMALL = phantom.Options(size=48, patients_per_class=3, slices_per_patient=2)


def marked(kind: str, strength: float, where: str = "both") -> phantom.Options:
    return SMALL.model_copy(update={"shortcut": phantom.Shortcut(kind=kind, strength=strength, where=where)})


def forget() -> None:
    drawn = (
        chest.draw_anatomy,
        chest.draw_waves,
        lung_trees.grow_trees,
        lesions.draw_lesions,
        lesion_paint.grow,
        decoys.draw_decoys,
    )
    for remembered in drawn:
        remembered.cache_clear()


def test_the_index_names_every_slice_once_and_keeps_a_patient_in_one_group():
    records = list(phantom.index(None, SMALL))
    assert len({record.image_id for record in records}) == len(records) == 3 * 3 * 2
    assert {record.group for record in records} == {
        f"{label}-{i:03d}" for label in scanner.PHANTOM_CLASSES for i in range(3)
    }
    assert all(record.group_kind == "patient" and record.image_id.startswith(record.group) for record in records)
    assert {record.evidence for record in records if record.label == "normal"} == {"none"}
    assert {record.evidence for record in records if record.label != "normal"} == {"mask"}


def test_a_slice_is_the_same_whatever_was_drawn_before_it():
    records = list(phantom.index(None, SMALL))
    forward = [phantom.read(None, SMALL, record, None) for record in records]
    forget()
    backward = [phantom.read(None, SMALL, record, None) for record in reversed(records)][::-1]
    for one, other in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        assert one.masks.keys() == other.masks.keys()
        assert all((one.masks[name] == other.masks[name]).all() for name in one.masks)


def test_more_patients_leave_the_first_ones_as_they_were():
    more = SMALL.model_copy(update={"patients_per_class": 7})
    for record in phantom.index(None, SMALL):
        np.testing.assert_array_equal(
            phantom.read(None, SMALL, record, None).pixels, phantom.read(None, more, record, None).pixels
        )


def test_another_seed_and_another_slice_are_other_pictures():
    first, second, *_ = phantom.index(None, SMALL)
    other = SMALL.model_copy(update={"seed": 1})
    base = phantom.read(None, SMALL, first, None).pixels
    assert (base != phantom.read(None, SMALL, second, None).pixels).mean() > 0.3
    assert (base != phantom.read(None, other, first, None).pixels).mean() > 0.3


@pytest.mark.parametrize("kind", ["marker", "kernel", "burnt_in_text"])
def test_a_shortcut_for_training_never_reaches_the_test_part(kind):
    record = next(record for record in phantom.index(None, SMALL) if record.label == "malignant")
    training, everywhere = marked(kind, 1.0, "train"), marked(kind, 1.0, "both")
    planted = phantom.read(None, everywhere, record, "test").pixels
    for part in ("train", "val", None):
        np.testing.assert_array_equal(phantom.read(None, training, record, part).pixels, planted)
    clean = phantom.read(None, training, record, "test")
    assert "shortcut" not in clean.masks
    np.testing.assert_array_equal(clean.pixels, phantom.read(None, SMALL, record, "test").pixels)


@pytest.mark.parametrize("kind", ["marker", "burnt_in_text"])
def test_a_shortcut_mask_holds_exactly_the_pixels_of_the_mark(kind):
    options = marked(kind, 1.0)
    for record in phantom.index(None, options):
        plain, with_mark = phantom.read(None, SMALL, record, None), phantom.read(None, options, record, None)
        np.testing.assert_array_equal(plain.pixels != with_mark.pixels, with_mark.masks["shortcut"])
        assert not (with_mark.masks["shortcut"] & with_mark.masks["body"]).any()
        assert 4 <= with_mark.masks["shortcut"].sum() <= 0.03 * plain.pixels.size


def test_at_strength_one_a_marker_names_the_class_and_classes_differ():
    masks = {}
    for record in phantom.index(None, marked("marker", 1.0)):
        found = phantom.read(None, marked("marker", 1.0), record, None).masks["shortcut"]
        assert (masks.setdefault(record.label, found) == found).all()
    assert not any((masks[one] & masks[two]).any() for one, two in (("normal", "benign"), ("benign", "malignant")))


def test_a_text_is_in_one_corner_for_all_classes_and_only_its_letters_differ():
    masks = {}
    for record in phantom.index(None, marked("burnt_in_text", 1.0)):
        found = phantom.read(None, marked("burnt_in_text", 1.0), record, None).masks["shortcut"]
        assert (masks.setdefault(record.label, found) == found).all()
        assert not found[24:].any()
        assert not found[:, 24:].any()
    shapes = {name: mask.tobytes() for name, mask in masks.items()}
    assert len(set(shapes.values())) == 3


@pytest.mark.parametrize("drawn", [scanner.draw_marker, scanner.draw_kernel, scanner.draw_text])
def test_at_strength_zero_the_class_is_not_looked_at(drawn):
    found = [{drawn(0, patient, label, 0.0) for label in scanner.PHANTOM_CLASSES} for patient in range(60)]
    assert all(len(one) == 1 for one in found)
    assert len(set.union(*found)) >= 3


def test_a_strength_between_ties_that_share_of_the_patients():
    """At s, s + (1 - s) / 4 of the patients carry their own class's marker."""
    own = np.mean([scanner.draw_marker(0, patient, "benign", 0.6) == "benign" for patient in range(2000)])
    assert own == pytest.approx(0.7, abs=3 * np.sqrt(0.7 * 0.3 / 2000))


def test_a_kernel_has_no_mask_and_leaves_the_truth_alone():
    for record in phantom.index(None, SMALL):
        plain, grainy = (phantom.read(None, options, record, None) for options in (SMALL, marked("kernel", 1.0)))
        assert plain.masks.keys() == grainy.masks.keys()
        assert all((plain.masks[name] == grainy.masks[name]).all() for name in plain.masks)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 31},
        {"size": 513},
        {"difficulty": 1.1},
        {"view": "head"},
        {"patients_per_class": 0},
        {"slices_per_patient": 0},
        {"sise": 96},
        {"shortcut": {"kind": "watermark"}},
        {"shortcut": {"kind": "marker", "strength": 2}},
        {"shortcut": {"where": "test"}},
        {"shortcut": {"colour": "red"}},
    ],
)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ValidationError):
        phantom.Options.model_validate(wrong)


@pytest.mark.parametrize("file", ["phantom/malignant-017/0", "phantom/benign-000/9", "phantom/cyst-000/0", "a.png"])
def test_a_slice_the_phantom_does_not_have_is_refused(file):
    record = Record("x", file, "benign", "g", "patient", "mask")
    with pytest.raises(DatasetInvalid, match="not a slice of this phantom"):
        phantom.read(None, SMALL, record, None)


def test_a_smaller_field_of_view_shows_the_lungs_enlarged_with_their_masks():
    whole = SMALL.model_copy(update={"size": 76})
    lungs, lung = (
        SMALL.model_copy(update={"size": size, "view": view}) for size, view in ((56, "lungs"), (40, "lung"))
    )
    for record in phantom.index(None, SMALL):
        full, both, one = (phantom.read(None, options, record, None) for options in (whole, lungs, lung))
        assert (both.pixels.shape, one.pixels.shape) == ((56, 56), (40, 40))
        assert (
            both.masks["lungs"].sum() == full.masks["lungs"].sum()
        )  # the same millimetres per pixel; no lung is cut off
        assert 0.4 < one.masks["lungs"].sum() / full.masks["lungs"].sum() < 0.75
        if len(record.lesions) == 1:
            assert one.masks["evidence"].sum() == both.masks["evidence"].sum() == full.masks["evidence"].sum()
