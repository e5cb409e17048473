"""Lesions and decoys of the phantom: every kind occurs, distributions of the classes overlap, records state what is drawn."""

from collections import Counter
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from gradfaith.data import manifest
from gradfaith.data.phantom import decoys, geometry, lesion_paint, lesions
from gradfaith.data.phantom.ct_slices import SliceSpec, draw_slice
from gradfaith.data.readers import phantom
from gradfaith.storage import parquet

CLASSES = ("benign", "malignant")


@pytest.fixture(scope="module")
def drawn():
    """The lesions of 300 patients of each class, at the default difficulty."""
    return {label: [lesions.draw_lesions(0, patient, label, 0.35) for patient in range(300)] for label in CLASSES}


def first_ones(drawn, label, name):
    return [getattr(found[0].about, name) for found in drawn[label]]


def test_every_kind_outline_density_calcification_and_contact_occurs(drawn):
    about = [item.about for label in CLASSES for found in drawn[label] for item in found]
    assert {item.kind for item in about} == {name for kinds in lesions.KINDS.values() for name in kinds}
    for name, names in (("outline", lesions.Outline), ("density", lesions.Density), ("contact", lesions.Contact)):
        assert {getattr(item, name) for item in about} == set(get_args(names))
    assert {item.calcification for item in about} == set(get_args(lesions.Calcification))
    assert any(item.cavity for label in CLASSES for found in drawn[label] for item in found)
    assert all(abs(sum(kind.share for kind in kinds.values()) - 1) < 1e-9 for kinds in lesions.KINDS.values())


def test_diameters_are_5_to_40_mm_and_most_are_below_20(drawn):
    diameters = np.array([item.about.diameter_mm for label in CLASSES for found in drawn[label] for item in found])
    assert diameters.min() >= 3.5  # a lesion shrinks where the lung has no room for it
    assert diameters.max() <= 40
    assert 0.6 < (diameters < 20).mean() < 0.95


def test_sizes_of_both_classes_overlap(drawn):
    """The best threshold of the diameter is right for about 55 of 100 lesions, where 50 is chance."""
    benign, malignant = (np.array(first_ones(drawn, label, "diameter_mm")) for label in CLASSES)
    best = max(((benign < at).mean() + (malignant >= at).mean()) / 2 for at in np.unique([*benign, *malignant]))
    assert best < 0.62


@pytest.mark.parametrize(
    ("name", "values"), [("outline", lesions.Outline), ("density", lesions.Density), ("contact", lesions.Contact)]
)
def test_every_value_of_a_property_occurs_in_both_classes(drawn, name, values):
    counts = {label: Counter(first_ones(drawn, label, name)) for label in CLASSES}
    for value in get_args(values):
        assert min(counts[label][value] for label in CLASSES) >= 3, value
    overlap = sum(min(counts["benign"][value], counts["malignant"][value]) for value in get_args(values)) / 300
    assert overlap > 0.3


def test_some_patients_have_several_lesions_and_a_malignant_patient_may_have_a_benign_one(drawn):
    for label in CLASSES:
        assert 0.12 < np.mean([len(found) > 1 for found in drawn[label]]) < 0.28
        assert all(found[0].label == label for found in drawn[label])
    others = Counter(item.label for found in drawn["malignant"] for item in found[1:])
    assert min(others["benign"], others["malignant"]) > 5
    assert {item.label for found in drawn["benign"] for item in found} == {"benign"}


def test_the_records_state_the_lesions_and_the_manifest_keeps_them():
    options = phantom.Options(size=48, patients_per_class=3, slices_per_patient=1)
    records = {record.image_id: record for record in phantom.index(None, options)}
    table = manifest.build_manifest(phantom, None, options, ["normal", "benign", "malignant"])
    assert set(parquet.MANIFEST) == set(table)
    for row in table.itertuples():
        stated = records[row.image_id].lesions
        assert row.lesions == len(stated)
        assert (row.lesions == 0) == (row.label == "normal") == (row.lesion_kind == "") == bool(np.isnan(row.lesion_mm))
        if stated:
            assert (row.lesion_kind, row.lesion_mm) == (stated[0].kind, stated[0].diameter_mm)
            assert (row.lesion_density, row.lesion_outline) == (stated[0].density, stated[0].outline)
            assert (row.lesion_calcification, row.lesion_contact) == (stated[0].calcification, stated[0].contact)


def material(label, wanted, inside=0.35):
    """Hounsfield units within a share of the radius of the first lesion that has the wanted properties."""
    for patient in range(600):
        item = lesions.draw_lesions(5, patient, label, 0.3)[0]
        if item.radius > 8 * lesions.MM and all(getattr(item.about, name) == value for name, value in wanted.items()):
            on = geometry.patient_frame(256)
            image = np.full((256, 256), -850, np.float32)
            lesion_paint.paint_lesion(image, replace(item, cavity=0.0), item.z, np.ones_like(image), on)
            away = np.hypot(on.x - item.x, on.y - item.y) / item.radius
            return image[away < inside], image[(away > 0.7) & (away < 0.8)]
    raise AssertionError(wanted)


def test_densities_are_those_of_tissue_ground_glass_and_calcium():
    solid, _ = material("malignant", {"density": "solid", "calcification": "none", "outline": "lobulated"})
    assert -60 < np.median(solid) < 100
    haze, rim = material("benign", {"density": "ground-glass"})
    assert -720 < np.median(haze) < -300
    core, rim = material("malignant", {"density": "part-solid"}, 0.15)
    assert np.median(core) > np.median(rim) + 150
    for pattern in ("central", "diffuse", "laminated"):
        calcium, _ = material("benign", {"calcification": pattern}, 0.2)
        assert np.median(calcium) > 200, pattern
    popcorn, _ = material("benign", {"calcification": "popcorn"}, 0.8)
    assert 0.1 < (popcorn > 200).mean() < 0.9


def test_decoys_do_not_see_the_class_and_all_kinds_occur():
    rates = {}
    for label in range(3):  # patients are numbered across classes
        found = [decoys.draw_decoys(0, 3 * patient + label) for patient in range(150)]
        rates[label] = [
            np.mean([len(item.dots) for item in found]),
            np.mean([len(item.bands) for item in found]),
            np.mean([item.dependent > 0 for item in found]),
            np.mean([any(line.thick for line in item.fissures) for item in found]),
        ]
        assert all(rate > 0.2 for rate in rates[label])
        assert all(len(item.fissures) == 2 for item in found)
        assert max(2 * dot.radius for item in found for dot in item.dots if np.isfinite(dot.height)) < 4 * lesions.MM
    spread = np.ptp(list(rates.values()), axis=0)
    assert (spread < [0.6, 0.5, 0.22, 0.22]).all()  # about four standard errors of 150 patients


def test_decoys_are_drawn_in_the_lungs_only_and_are_no_evidence():
    changed = 0
    for patient in range(6):
        cut = SliceSpec(seed=1, patient=patient, label="normal", slice=0, slices=2, size=128, difficulty=0.35)
        truth = draw_slice(cut)
        drawn, kept = decoys.draw_decoys(1, patient), truth.hounsfield.copy()
        assert truth.evidence is None
        assert decoys.draw_decoys(1, patient) is drawn
        changed += len(drawn.dots)
        assert np.isfinite(kept).all()
    assert changed >= 6
