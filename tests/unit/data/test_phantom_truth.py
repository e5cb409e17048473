"""What the phantom says of itself holds: masks, smoothness along a patient, and classes that differ in the nodule alone."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from gradfaith.data.phantom import chest, ct_slices, geometry, lesions, scanner
from gradfaith.data.phantom.ct_slices import SliceSpec

NODULES = [(kind, patient) for kind in ("benign", "malignant") for patient in range(8)]
CUT = SliceSpec(seed=3, patient=0, label="normal", slice=0, slices=4, size=96, difficulty=0.5)


@pytest.mark.parametrize(("kind", "patient"), NODULES)
@pytest.mark.parametrize("size", [64, 160])
def test_evidence_is_what_the_nodule_changes(kind, patient, size):
    """Without noise: nothing changes but the mask and its direct neighbours, and in the mask nearly everything does."""
    cut = replace(CUT, patient=patient, label=kind, slice=patient % 4, size=size)
    truth, without = ct_slices.draw_slice(cut), ct_slices.draw_slice(cut, nodule=False)
    grey = np.abs(truth.hounsfield - without.hounsfield) * 255 / 1500
    touched = ndimage.binary_dilation(truth.evidence, np.ones((3, 3)))
    assert grey[~touched].max() == 0
    assert np.median(grey[touched & ~truth.evidence]) < 0.5 * np.median(grey[truth.evidence])
    assert np.median(grey[truth.evidence]) > 30
    assert (grey[truth.evidence] > 10).mean() > 0.7  # the rest was vessel before


@pytest.mark.parametrize(("kind", "patient"), NODULES)
def test_every_slice_shows_its_nodule_inside_the_lungs(kind, patient):
    areas = []
    for number in range(4):
        truth = ct_slices.draw_slice(replace(CUT, patient=patient, label=kind, slice=number))
        assert not (truth.evidence & ~truth.lungs).any()
        assert not (truth.lungs & ~truth.body).any()
        areas.append(truth.evidence.sum())
    radii = np.sqrt(np.array(areas) / np.pi)
    low, high = {"benign": (1.9, 5.5), "malignant": (3.5, 9.5)}[kind]
    assert (radii > low).all()
    assert (radii < high).all()


def test_normal_patients_have_no_evidence():
    assert ct_slices.draw_slice(CUT).evidence is None


def test_nodules_lie_in_both_lungs_front_and_back():
    for kind in ("benign", "malignant"):
        found = [lesions.draw_nodule(0, patient, kind, 0.5) for patient in range(80)]
        sides = np.array([(item.x > 0, item.y > 0) for item in found])
        assert (np.abs(sides.mean(axis=0) - 0.5) < 0.25).all()


def test_some_malignant_nodules_touch_the_pleura_and_benign_ones_do_not():
    touching = {"benign": 0, "malignant": 0}
    for kind in touching:
        for patient in range(20):
            truth = ct_slices.draw_slice(replace(CUT, patient=patient, label=kind, slice=1))
            touching[kind] += (ndimage.binary_dilation(truth.evidence) & ~truth.lungs).any()
    assert touching["benign"] <= 1
    assert 3 <= touching["malignant"] <= 19


def test_a_nodule_is_largest_at_its_centre_and_ends():
    item = lesions.draw_nodule(0, 5, "benign", 0.5)
    on, lungs = geometry.patient_frame(128), np.ones((128, 128), np.float32)

    def area(z):
        return lesions.paint_nodule(np.zeros((128, 128), np.float32), item, z, lungs, on).sum()

    shares = [area(item.z + share * item.height) / area(item.z) for share in (0.0, 0.3, 0.6, 0.9)]
    np.testing.assert_allclose(shares, [1, 1 - 0.3**2, 1 - 0.6**2, 1 - 0.9**2], atol=0.08)
    assert area(item.z + 1.01 * item.height) == 0


@pytest.mark.parametrize("label", ["benign", "malignant"])
def test_two_classes_with_one_number_differ_in_the_nodule_alone(label):
    """Anatomy, dose, kernel and noise never see the class: the same pixels but for the nodule."""
    for patient in range(6):
        normal, ill = (replace(CUT, patient=patient, label=name) for name in ("normal", label))
        bare, truth = ct_slices.draw_slice(normal), ct_slices.draw_slice(ill)
        np.testing.assert_array_equal(bare.hounsfield, ct_slices.draw_slice(ill, nodule=False).hounsfield)
        reach = 1 + scanner.SPREAD_REACH  # the nodule's soft edge, then the scanner's point spread
        near = ndimage.binary_dilation(truth.evidence, np.ones((3, 3)), reach)
        for kernel in scanner.KERNELS:
            apart = ct_slices.scan_slice(normal, bare, kernel) != ct_slices.scan_slice(ill, truth, kernel)
            assert apart[truth.evidence].any()
            assert not (apart & ~near).any()


def test_neighbouring_slices_are_alike_and_patients_are_not():
    def look(patient, number):
        return ct_slices.draw_slice(replace(CUT, patient=patient, slice=number))

    for patient in range(5):
        one, two, last = (look(patient, number) for number in (0, 1, 3))
        near, far = (_correlation(one.hounsfield, other.hounsfield) for other in (two, last))
        strange = _correlation(one.hounsfield, look(patient + 1, 0).hounsfield)
        assert near > 0.97
        assert near > far > strange
        assert _dice(one.lungs, two.lungs) > 0.95


def _correlation(one, two):
    return np.corrcoef(one.ravel(), two.ravel())[0, 1]


def _dice(one, two):
    return 2 * (one & two).sum() / (one.sum() + two.sum())


def test_many_slices_still_show_the_nodule():
    for number in (0, 19):
        assert ct_slices.draw_slice(replace(CUT, label="benign", slice=number, slices=20)).evidence.sum() > 8
    assert replace(CUT, slices=1).z == 0


def test_grey_values_read_as_a_chest():
    """Air darkest, lung a little brighter, soft tissue grey, bone white; two lungs of a plausible size."""
    for patient in range(8):
        cut = replace(CUT, patient=patient)
        truth = ct_slices.draw_slice(cut)
        pixels = ct_slices.scan_slice(cut, truth, "soft")
        assert 36 < np.median(pixels[:8]) < 48
        assert 55 < np.median(pixels[truth.lungs]) < 90
        assert 185 < np.median(pixels[truth.body & ~truth.lungs]) < 230
        assert pixels.max() == 255
        assert 0.15 < truth.lungs.sum() / truth.body.sum() < 0.6
        counts = np.bincount(ndimage.label(truth.lungs)[0].ravel())[1:]
        assert (counts > 0.1 * counts.max()).sum() == 2


def test_the_kernels_set_strength_and_grain_of_the_noise():
    """The noise's standard deviation is the scan's; a softer kernel correlates neighbouring pixels more."""
    neighbours = {}
    for kernel in scanner.KERNELS:
        how = scanner.draw_scan_settings(0, 1, kernel)
        grain = scanner.scan_noise(128, how, np.random.default_rng(0))
        assert grain.std() == pytest.approx(how.noise, rel=0.05)
        neighbours[kernel] = _correlation(grain[:, 1:], grain[:, :-1])
    assert neighbours["soft"] > neighbours["medium"] + 0.1 > neighbours["sharp"] + 0.2


def test_a_circle_from_a_table_is_the_circle_from_its_equation():
    on = geometry.patient_frame(64, (0.1, -0.05), 0.3)
    table = geometry.distance_to(
        np.full(geometry.ANGLES, 0.4, np.float32), np.hypot(on.x, on.y), geometry.angle_bins(on.x, on.y)
    )
    np.testing.assert_allclose(table, geometry.Ellipse(0, 0, 0.4, 0.4).distance(on.x, on.y), atol=1e-5)
    area = geometry.pixel_coverage(table, on.pixel).sum() * on.pixel**2
    assert area == pytest.approx(np.pi * 0.4**2, rel=2e-3)


def test_a_wave_is_its_own_formula():
    on = geometry.patient_frame(32, (0.1, -0.05), 0.3)
    np.testing.assert_allclose(on.wave(5.0, 3.0, 0.7), np.sin(5 * on.x + 3 * on.y + 0.7), atol=1e-5)


def test_anatomy_fills_its_ranges():
    drawn = np.array(
        [[getattr(chest.draw_anatomy(0, i), name) for name in ("level", "width", "fat")] for i in range(200)]
    )
    low, high = drawn.min(axis=0), drawn.max(axis=0)
    assert (low < [0.28, 0.59, 0.03]).all()
    assert (high > [0.80, 0.68, 0.095]).all()
