"""The runner that explains again: every re-run counted, one answer for any chunk, and a status for whatever goes wrong."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from gradfaith.errors import StudyInvalid
from gradfaith.metrics.contract import MethodMaps, MethodRerun, Metric, RerunBatch, Values
from gradfaith.metrics.faithfulness import coherency, coherency_literature, max_sensitivity, randomisation_sensitivity
from gradfaith.metrics.imputers import black, mean
from gradfaith.metrics.maps.evaluate import evaluate
from gradfaith.metrics.runners.rerun import NO_FINITE_MAP, run_battery

METRICS = {
    "coherency": (coherency, {}),
    "as printed": (coherency_literature, {}),
    "sensitivity": (max_sensitivity, {"draws": 3, "radius": 0.05}),
    "forgetful": (randomisation_sensitivity, {}),
}
IMPUTERS = {"black": (black, {}), "mean": (mean, {})}
MEAN, SIZE, IMAGES = torch.tensor([0.2, 0.4]), (6, 8), 5
IDS = [f"image {row}" for row in range(IMAGES)]
BLACK = {"black": (black, {})}


def fine(images: Tensor) -> Tensor:  # (n, h, w)
    """A method at the image's size: where the first channel is above the second, squared."""
    return (images[:, 0] - images[:, 1]).square()


def coarse(images: Tensor) -> Tensor:  # (n, 3, 4)
    """A method on a grid of its own, with negative values."""
    return torch.nn.functional.avg_pool2d(images.mean(dim=1), 2) - 0.45


METHODS = {"fine": (fine, "input", False), "coarse": (coarse, "native", True)}


class Explaining:
    """Both methods, asked again; counts the images it is shown, and knows its largest batch."""

    def __init__(self, limit: int = 10**9) -> None:
        self.seen, self.largest, self.limit, self.refused = 0, 0, limit, 0
        self.changes: set[str] = set()

    def __call__(self, asked: RerunBatch) -> dict[str, Tensor]:
        if len(asked.images) > self.limit:
            self.refused += 1
            raise torch.cuda.OutOfMemoryError
        self.seen, self.largest = self.seen + len(asked.images), max(self.largest, len(asked.images))
        self.changes |= set(asked.changes)
        assert len(asked.images) == len(asked.target) == len(asked.image_ids) == len(asked.changes)
        images = asked.images if asked.model == "trained" else asked.images.flip(3)
        return {name: METHODS[name][0](images[rows]) for name, rows in asked.wanted.items()}


def scene() -> tuple[Tensor, dict[str, MethodMaps]]:
    images = torch.rand(IMAGES, 2, *SIZE, generator=torch.Generator().manual_seed(1))
    rows = torch.arange(IMAGES)
    return images, {
        name: MethodMaps(f(images), grid, sign, rows, rows % 3) for name, (f, grid, sign) in METHODS.items()
    }


def both(explain=None, chunk="auto", metrics=METRICS, imputers=IMPUTERS, scene_=None):
    images, maps = scene_ or scene()
    return run_battery(explain or Explaining(), images, maps, metrics, imputers, mean=MEAN, image_ids=IDS, chunk=chunk)


def literal(name: str, row: int, fill: Tensor) -> float:
    """Coherency of one map, line by line as it is defined."""
    method, grid, signed = METHODS[name]
    image = scene()[0][row]
    first = evaluate(method(image[None]), grid=grid, signed=signed, size=SIZE).unit[0]
    masked = image * first + fill * (1 - first)
    second = evaluate(method(masked[None]), grid=grid, signed=signed, size=SIZE).unit[0]
    return (1 + np.corrcoef(first.flatten(), second.flatten())[0, 1]) / 2


@pytest.mark.parametrize("chunk", [1, 2, 7, 100, "auto"])
def test_the_runner_agrees_with_one_map_at_a_time_for_any_chunk(chunk):
    found = both(chunk=chunk).by_method
    for name in METHODS:
        for imputer, fill in (("black", torch.zeros(2, 1, 1)), ("mean", MEAN[:, None, None])):
            expected = [literal(name, row, fill) for row in range(IMAGES)]
            assert found[name]["coherency", imputer].value == pytest.approx(expected, abs=1e-6)
            assert found[name]["as printed", imputer].value == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_numbers_that_read_no_imputer_do_not_depend_on_the_chunk_or_on_other_methods(chunk):
    whole, some = both(), both(chunk=chunk)
    alone = both(scene_=(scene()[0], {"coarse": scene()[1]["coarse"]}))
    for pair in (("sensitivity", ""), ("forgetful", "")):
        np.testing.assert_allclose(
            some.by_method["coarse"][pair].value, whole.by_method["coarse"][pair].value, atol=1e-6
        )
        np.testing.assert_allclose(
            alone.by_method["coarse"][pair].value, whole.by_method["coarse"][pair].value, atol=1e-6
        )


@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_each_distinct_re_run_is_made_once_for_all_metrics_and_methods(chunk):
    """Own changes: 5 images, 2 methods, 2 imputers, one change for two metrics; shared: 5 images, 3 draws and another model."""
    explain = Explaining()
    found = both(explain, chunk=chunk)
    assert explain.seen == found.passes_run == 5 * 2 * 2 + 5 * (3 + 1)
    assert found.passes_requested == 5 * 2 * (2 + 2 + 3 + 1)
    assert explain.largest <= chunk
    assert len(explain.changes) == 5


def test_batches_are_full_across_methods_changes_and_imputers():
    explain = Explaining()
    both(explain, chunk=64)
    assert explain.largest == 5 * 2 * 2 + 5 * 3


def test_coherency_by_hand():
    """A method that shows the picture itself: of .8 .5 .2 it shows 1 1/2 0, and of what is left, .8 .25 0, 1 5/16 0."""
    image = torch.tensor([[[[0.8, 0.5, 0.2]]]])
    stored = {"m": MethodMaps(image[:, 0], "input", False, torch.zeros(1, dtype=torch.long), torch.zeros(1))}
    ask = lambda asked: {"m": asked.images[asked.wanted["m"]][:, 0]}  # noqa: E731
    found = run_battery(ask, image, stored, {"coherency": (coherency, {})}, BLACK).by_method["m"]["coherency", "black"]
    first, second = np.array([0.5, 0, -0.5]), np.array([1, 5 / 16, 0]) - (1 + 5 / 16) / 3
    rho = first @ second / np.sqrt(first @ first * (second @ second))
    assert found.value == pytest.approx([(1 + rho) / 2])


def test_max_sensitivity_by_hand():
    """A method twice the picture: however the noise falls, its relative change is the picture's; the largest of the draws."""
    image = torch.tensor([[[[0.6, 0.0]]]])
    stored = {"m": MethodMaps(2 * image[:, 0], "input", False, torch.zeros(1, dtype=torch.long), torch.zeros(1))}
    noises = []

    def ask(asked: RerunBatch) -> dict[str, Tensor]:
        noises.extend((asked.images - image)[:, 0, 0])
        return {"m": 2 * asked.images[asked.wanted["m"]][:, 0]}

    found = run_battery(
        ask, image, stored, {"s": (max_sensitivity, {"draws": 6, "radius": 0.3})}, {}, image_ids=["a"]
    ).by_method["m"]
    sizes = [float(noise.norm()) / 0.6 for noise in noises]
    assert found["s", ""].value == pytest.approx([max(sizes)], rel=1e-5)
    assert len(set(sizes)) == 6
    assert max(float(noise.abs().max()) for noise in noises) <= 0.3


def test_noise_is_each_image_s_own_and_differs_by_channel_and_study():
    def noise_of(key: str, ids: list[str]) -> Tensor:
        images, maps = torch.full((2, 2, *SIZE), 0.5), scene()[1]
        rows = torch.arange(2)
        stored = {"fine": MethodMaps(maps["fine"].raw[:2], "input", False, rows, rows)}
        seen = []

        def ask(asked: RerunBatch) -> dict[str, Tensor]:
            seen.append(asked.images - 0.5)
            return {"fine": fine(asked.images[asked.wanted["fine"]])}

        run_battery(ask, images, stored, {"s": (max_sensitivity, {"draws": 1})}, {}, image_ids=ids, key=(key,))
        return torch.cat(seen)

    first = noise_of("study", ["a", "b"])
    assert torch.equal(first, noise_of("study", ["b", "a"]).flip(0))
    assert not torch.equal(first, noise_of("another", ["a", "b"]))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[:, 0], first[:, 1])


def test_a_model_that_is_not_changed_agrees_with_itself():
    found = both(lambda asked: Explaining()(SimpleNamespace(**{**vars(asked), "model": "trained"})))
    assert found.by_method["fine"]["forgetful", ""].value == pytest.approx(1)


def test_constant_and_broken_maps_are_not_asked_for_again():
    images, maps = scene()
    maps["coarse"].raw[2] = 0.3
    maps["coarse"].raw[3, 1, 1] = torch.nan
    maps["fine"].raw[:] = -1
    explain = Explaining()
    found = both(explain, chunk=4, scene_=(images, maps))
    for result in found.by_method["coarse"].values():
        assert result.status.tolist() == ["ok", "ok", "degenerate", "failed", "ok"]
        assert np.isnan(result.value[[2, 3]]).all()
    assert {status for result in found.by_method["fine"].values() for status in result.status} == {"degenerate"}
    assert explain.seen == 3 * 2 + 3 * 4, "nor are images of which no map is usable"


def changed_as(value: float):
    """An explainer whose maps of image 1, masked, are this number everywhere."""

    def ask(asked: RerunBatch) -> dict[str, Tensor]:
        found = Explaining()(asked)
        for name, rows in asked.wanted.items():
            for place, row in enumerate(rows.tolist()):
                if asked.image_ids[row] == IDS[1] and asked.changes[row] == "kept":
                    found[name][place] = value
        return found

    return ask


def test_a_map_that_becomes_constant_is_undefined_with_a_reason_and_one_half_in_the_literature():
    """The minimal case against the published codes: a method that shows nothing of what it has masked is no half-coherent one."""
    found = both(changed_as(0.7)).by_method["fine"]
    result = found["coherency", "black"]
    assert result.status.tolist() == ["ok", "undefined", "ok", "ok", "ok"]
    assert result.reason[1] == "the map of the image it masks is constant"
    assert np.isnan(result.value[1])
    assert found["as printed", "black"].value[1] == 0.5
    assert found["as printed", "black"].status[1] == "ok"
    assert (found["sensitivity", ""].status == "ok").all()


def test_a_map_that_is_no_number_when_asked_again_has_failed_and_says_so():
    found = both(changed_as(torch.nan)).by_method["coarse"]
    for metric in ("coherency", "as printed"):
        assert found[metric, "mean"].status.tolist() == ["ok", "failed", "ok", "ok", "ok"]
        assert found[metric, "mean"].reason[1] == NO_FINITE_MAP
    assert (found["forgetful", ""].status == "ok").all()


def test_a_map_of_the_randomised_model_that_is_constant_is_undefined():
    def ask(asked: RerunBatch) -> dict[str, Tensor]:
        found = Explaining()(asked)
        return {name: maps * 0 + 1 for name, maps in found.items()} if asked.model == "randomised" else found

    found = both(ask).by_method["fine"]["forgetful", ""]
    assert set(found.status) == {"undefined"}
    assert set(found.reason) == {"the map of the randomised model is constant"}


def test_auto_halves_when_the_device_is_full_and_remembers():
    tight = Explaining(limit=9)
    found, expected = both(tight), both()
    assert tight.largest <= 9
    assert tight.refused == 2  # 32 asked for 25; then 12
    assert found.passes_run == expected.passes_run == tight.seen
    for pair, result in expected.by_method["coarse"].items():
        np.testing.assert_allclose(found.by_method["coarse"][pair].value, result.value, atol=1e-6)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        both(Explaining(limit=3), chunk=4)


def test_two_metrics_that_mean_different_masks_by_one_name_are_refused():
    def changes(maps):
        yield MethodRerun("kept", keep=lambda: 1 - maps.unit)

    declared = Metric("faithfulness", "predicted", (None, None), "neither", battery="rerun", forwards=1)
    odd = SimpleNamespace(METRIC=declared, changes=changes, score=lambda base, after: Values(base.raw[:, 0, 0]))
    with pytest.raises(StudyInvalid, match="kept"):
        both(metrics=METRICS | {"odd": (odd, {})})


def test_what_is_kept_whole_is_the_image_itself_whatever_the_imputer():
    def changes(maps):
        yield MethodRerun("whole", keep=lambda: torch.ones_like(maps.unit))

    def score(base, after):
        return Values((base.raw - after["whole"].raw).abs().amax(dim=(1, 2)))

    declared = Metric("faithfulness", "predicted", (None, None), "neither", battery="rerun", forwards=1)
    found = both(metrics={"same": (SimpleNamespace(METRIC=declared, changes=changes, score=score), {})}, chunk=1)
    assert {float(value) for own in found.by_method.values() for result in own.values() for value in result.value} == {
        0.0
    }


def test_no_maps_give_no_rows():
    images, maps = scene()
    none = MethodMaps(maps["fine"].raw[:0], "input", False, torch.arange(0), torch.arange(0))
    found = run_battery(Explaining(), images[:0], {"fine": none}, METRICS, IMPUTERS, mean=MEAN)
    assert {len(result.value) for result in found.by_method["fine"].values()} == {0}
    assert found.passes_run == found.passes_requested == 0


def test_numpy_maps_are_as_good_as_tensors():
    images, maps = scene()
    plain = {
        name: MethodMaps(s.raw.numpy(), s.grid, s.signed, s.image_of.numpy(), s.target.numpy())
        for name, s in maps.items()
    }
    expected, found = both().by_method["coarse"], both(scene_=(images, plain)).by_method["coarse"]
    for pair, result in expected.items():
        np.testing.assert_array_equal(found[pair].value, result.value)
