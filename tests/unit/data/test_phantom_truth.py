"""What the phantom says of itself holds: masks, smoothness along a patient, and classes that differ in the lesions alone."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from gradfaith.data.phantom import chest, ct_slices, geometry, lesion_paint, lesions, scanner
from gradfaith.data.phantom.ct_slices import SliceSpec

LESIONS = [(kind, patient) for kind in ("benign", "malignant") for patient in range(8)]
CUT = SliceSpec(seed=3, patient=0, label="normal", slice=0, slices=4, size=96, difficulty=0.5)


@pytest.mark.parametrize(("kind", "patient"), LESIONS)
@pytest.mark.parametrize("size", [64, 160])
def test_evidence_is_what_the_lesions_change(kind, patient, size):
    """Without noise, an image with lesions differs from the same image without them in the mask and two pixels around it.

    A pixel of evidence is filled by at least a quarter, so the soft edge outside is below a quarter of the lesion's contrast.
    """
    cut = replace(CUT, patient=patient, label=kind, slice=patient % 4, size=size)
    truth, without = ct_slices.draw_slice(cut), ct_slices.draw_slice(cut, lesion=False)
    change = np.abs(truth.hounsfield - without.hounsfield)
    touched = lesion_paint.halo(truth.evidence)
    assert change[~touched].max() == 0
    assert np.median(change[touched & ~truth.evidence]) < 0.25 * np.median(change[truth.evidence])
    assert change[touched & ~truth.evidence].max() < 0.5 * 1000  # at the pleura, half a pixel of lung may be filled
    assert np.median(change[truth.evidence]) > 60  # ground glass of a few pixels
    assert (change[truth.evidence] > 30).mean() > 0.7  # the rest was vessel before


@pytest.mark.parametrize(("kind", "patient"), LESIONS)
def test_every_slice_shows_its_lesion_inside_the_lungs(kind, patient):
    first = lesions.draw_lesions(3, patient, kind, 0.5)[0]
    on = geometry.patient_frame(96)
    for number in range(4):
        cut = replace(CUT, patient=patient, label=kind, slice=number)
        truth = ct_slices.draw_slice(cut)
        assert not (truth.evidence & ~truth.lungs).any()
        assert not (truth.lungs & ~truth.body).any()
        bare = np.full((96, 96), -850, np.float32)
        own = lesion_paint.paint_lesion(bare, first, cut.z, np.ones((96, 96), np.float32), on)
        across = 2 * np.sqrt(own.sum() / np.pi) * on.pixel / lesions.MM
        assert 0.5 * first.about.diameter_mm < across < 1.7 * first.about.diameter_mm + 4


def test_normal_patients_have_no_evidence():
    assert ct_slices.draw_slice(CUT).evidence is None


def test_lesions_lie_in_both_lungs_front_and_back():
    for kind in ("benign", "malignant"):
        found = [lesions.draw_lesions(0, patient, kind, 0.5)[0] for patient in range(80)]
        sides = np.array([(item.x > 0, item.y > 0) for item in found])
        assert (np.abs(sides.mean(axis=0) - 0.5) < 0.25).all()


def test_a_lesion_that_touches_the_pleura_does_so_in_the_image():
    touching = {"none": [], "pleura": []}
    for patient in range(60):
        for kind in ("benign", "malignant"):
            first, *more = lesions.draw_lesions(3, patient, kind, 0.5)
            if first.about.contact in touching and first.about.outline != "spiculated" and not more:
                truth = ct_slices.draw_slice(replace(CUT, patient=patient, label=kind, slice=1))
                touching[first.about.contact].append((ndimage.binary_dilation(truth.evidence) & ~truth.lungs).any())
    assert np.mean(touching["pleura"]) > 0.9
    assert np.mean(touching["none"]) < 0.1


def test_a_lesion_is_largest_near_its_centre_and_ends():
    on, lungs = geometry.patient_frame(128), np.ones((128, 128), np.float32)
    for patient in range(5):
        item = lesions.draw_lesions(0, patient, "benign", 0.5)[0]

        def area(z, item=item):
            return lesion_paint.paint_lesion(np.full((128, 128), -850, np.float32), item, z, lungs, on).sum()

        areas = [area(item.z + share * item.height) for share in (0.0, 0.5, 0.9)]
        assert areas[0] > 0.85 * areas[1] > areas[2]
        assert area(item.z + 1.6 * item.height) == 0


def test_outlines_change_smoothly_between_slices():
    on, lungs = geometry.patient_frame(224), np.ones((224, 224), np.float32)
    for patient in range(6):
        item = lesions.draw_lesions(0, patient, "malignant", 0.0)[0]
        sections = [np.full((224, 224), -850, np.float32) for _ in range(3)]
        near, also, far = (
            lesion_paint.paint_lesion(image, item, item.z + millimetres * lesions.MM, lungs, on)
            for image, millimetres in zip(sections, (0.0, 1.0, 5.0), strict=True)
        )
        assert _dice(near, also) > 0.8
        assert _dice(near, also) > _dice(near, far)


@pytest.mark.parametrize("label", ["benign", "malignant"])
def test_two_classes_with_one_number_differ_in_the_nodule_alone(label):
    """Anatomy, dose, kernel and noise never see the class: the same pixels but for the lesions."""
    for patient in range(6):
        normal, ill = (replace(CUT, patient=patient, label=name) for name in ("normal", label))
        bare, truth = ct_slices.draw_slice(normal), ct_slices.draw_slice(ill)
        np.testing.assert_array_equal(bare.hounsfield, ct_slices.draw_slice(ill, lesion=False).hounsfield)
        near = ndimage.binary_dilation(lesion_paint.halo(truth.evidence), np.ones((3, 3)), scanner.SPREAD_REACH)
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


def test_many_slices_still_show_the_lesion():
    for number in (0, 19):
        assert ct_slices.draw_slice(replace(CUT, label="benign", slice=number, slices=20)).evidence.sum() >= 4
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
    assert (low < [0.28, 0.59, 0.016]).all()
    assert (high > [0.80, 0.68, 0.076]).all()
