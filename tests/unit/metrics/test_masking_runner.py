"""The masking runner: every forward counted, one answer for any chunk, and a status for whatever goes wrong."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradfaith import registry
from gradfaith.errors import StudyInvalid
from gradfaith.metrics.contract import Imputer, MaskedChange, MethodMaps, Metric, Values
from gradfaith.metrics.faithfulness import deletion, faith, faith_logit
from gradfaith.metrics.imputers import black, blur, mean
from gradfaith.metrics.maps.evaluate import evaluate
from gradfaith.metrics.runners.masking import run_battery

METRICS = {"faith": (faith, {}), "faith_logit": (faith_logit, {})}
IMPUTERS = {"black": (black, {}), "mean": (mean, {}), "blur": (blur, {"sigma": 0.1})}
MEAN = torch.tensor([0.2, 0.4, 0.6])


class Counting:
    """A small network that counts the images it is shown, and knows its largest batch."""

    def __init__(self, limit: int = 10**9) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 4))
        self.seen, self.largest, self.limit, self.refused = 0, 0, limit, 0

    def __call__(self, images: Tensor) -> Tensor:
        if len(images) > self.limit:
            self.refused += 1
            raise torch.cuda.OutOfMemoryError
        self.seen, self.largest = self.seen + len(images), max(self.largest, len(images))
        return self.net(images)


def scene(images=5):
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(images, 3, 16, 20, generator=generator)
    maps = {}
    for name, grid, size, signed in (("cam", "native", (4, 5), False), ("pixels", "input", (16, 20), True)):
        raw = torch.randn(images + 2, *size, generator=generator)
        image_of = torch.tensor([*range(images), 0, 1])
        maps[name] = MethodMaps(raw, grid, signed, image_of, torch.randint(0, 4, (images + 2,), generator=generator))
    return x, maps


def metric(changes, score, forwards=1):
    """A file of a metric, as the runner sees it."""
    declared = Metric("faithfulness", "predicted", (None, None), "neither", forwards=forwards)
    return SimpleNamespace(METRIC=declared, changes=changes, score=score), {}


def literal(model, x, stored, row, fill):
    """Faith of one map, line by line as it is defined."""
    size = (x.shape[2], x.shape[3])
    unit = evaluate(stored.raw[row : row + 1], grid=stored.grid, signed=stored.signed, size=size).unit
    image = x[stored.image_of[row]][None]
    changed = image * (1 - unit) + fill(image) * unit
    with torch.no_grad():
        before, after = model.net(image)[0], model.net(changed)[0]
    target = stored.target[row]
    return float(before.softmax(0)[target] - after.softmax(0)[target]), float(before[target] - after[target])


@pytest.mark.parametrize("chunk", [1, 3, 7, 100, "auto"])
def test_the_runner_agrees_with_one_map_at_a_time_for_any_chunk(chunk):
    model, (x, maps) = Counting(), scene()
    found = run_battery(model, x, maps, METRICS, IMPUTERS, mean=MEAN, chunk=chunk).by_method
    fills = {
        "black": torch.zeros_like,
        "mean": lambda image: MEAN.reshape(1, 3, 1, 1).expand_as(image),
        "blur": lambda image: blur.fill(image, None, sigma=0.1),
    }
    for name, stored in maps.items():
        for imputer, fill in fills.items():
            for row in range(len(stored.raw)):
                probability, logit = literal(model, x, stored, row, fill)
                assert found[name]["faith", imputer].value[row] == pytest.approx(probability, abs=1e-6)
                assert found[name]["faith_logit", imputer].value[row] == pytest.approx(logit, abs=1e-6)


@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_each_distinct_changed_image_is_run_once_for_all_metrics(chunk):
    """5 images, 14 maps, 3 imputers, one change that two metrics share: 5 + 42 forwards, not 5 + 84."""
    model, (x, maps) = Counting(), scene()
    results = run_battery(model, x, maps, METRICS, IMPUTERS, mean=MEAN, chunk=chunk)
    assert model.seen == results.passes_run == 5 + 14 * 3
    assert results.passes_requested == 5 + 14 * 3 * 2
    assert model.largest <= chunk


def test_batches_are_full_across_methods_and_imputers_and_unchanged_images():
    model, (x, maps) = Counting(), scene()
    run_battery(model, x, maps, METRICS, IMPUTERS, mean=MEAN, chunk=14)
    assert model.largest == 14
    run_battery(model, x, maps, METRICS, IMPUTERS, mean=MEAN, chunk=64)
    assert model.largest == 5 + 14 * 3


def test_constant_and_broken_maps_cost_no_forward():
    model, (x, maps) = Counting(), scene()
    maps["cam"].raw[2] = 0.3
    maps["cam"].raw[3, 1, 1] = torch.nan
    maps["pixels"].raw[:] = -1
    results = run_battery(model, x, maps, METRICS, {"black": (black, {})}, chunk=4)
    cam, pixels = results.by_method["cam"]["faith", "black"], results.by_method["pixels"]["faith", "black"]
    assert cam.status.tolist() == ["ok", "ok", "degenerate", "failed", "ok", "ok", "ok"]
    assert set(pixels.status) == {"degenerate"}
    assert np.isnan(cam.value[[2, 3]]).all()
    assert results.passes_run == 5 + 5


@pytest.mark.parametrize("chunk", [3, 64])
def test_unusable_maps_leave_the_other_rows_in_their_places(chunk):
    model, (x, maps) = Counting(), scene()
    whole = run_battery(model, x, maps, METRICS, IMPUTERS, mean=MEAN, chunk=chunk).by_method["cam"]
    maps["cam"].raw[0], maps["cam"].raw[3] = 0, torch.nan
    found = run_battery(model, x, maps, METRICS, IMPUTERS, mean=MEAN, chunk=chunk).by_method["cam"]
    rest = [1, 2, 4, 5, 6]
    for pair, result in found.items():
        np.testing.assert_allclose(result.value[rest], whole[pair].value[rest], atol=1e-6)


def test_auto_halves_when_the_device_is_full_and_remembers():
    x, maps = scene()
    free, tight = Counting(), Counting(limit=3)
    expected = run_battery(free, x, maps, METRICS, IMPUTERS, mean=MEAN, chunk="auto")
    found = run_battery(tight, x, maps, METRICS, IMPUTERS, mean=MEAN, chunk="auto")
    assert tight.largest == 2
    assert tight.refused == 4  # 32, 16, 8 and 4 at once, and never again
    assert found.passes_run == expected.passes_run == tight.seen
    for pair, result in expected.by_method["cam"].items():
        np.testing.assert_allclose(found.by_method["cam"][pair].value, result.value, atol=1e-6)


def test_a_chunk_given_as_a_number_is_not_made_smaller_behind_ones_back():
    x, maps = scene()
    with pytest.raises(torch.cuda.OutOfMemoryError):
        run_battery(Counting(limit=3), x, maps, METRICS, IMPUTERS, mean=MEAN, chunk=4)


def test_a_device_too_small_for_one_image_is_an_error():
    x, maps = scene()
    with pytest.raises(torch.cuda.OutOfMemoryError):
        run_battery(Counting(limit=0), x, maps, METRICS, IMPUTERS, mean=MEAN)


def test_an_answer_that_is_no_number_is_failed_with_a_reason():
    """The image of row 2 makes the model answer NaN; the others are untouched."""
    x, maps = scene()
    x[2] = 0
    net = Counting()

    def sick(images):
        logits = net(images).clone()
        logits[images.sum(dim=(1, 2, 3)) == 0] = torch.nan
        return logits

    result = run_battery(sick, x, maps, METRICS, {"black": (black, {})}).by_method["cam"]["faith", "black"]
    assert result.status.tolist() == ["ok", "ok", "failed", "ok", "ok", "ok", "ok"]
    assert result.reason[2] == "the score is not a finite number"
    assert np.isnan(result.value[2])


def test_an_undefined_score_keeps_its_reason():
    def score(base, after):
        return Values(base.probability, undefined=base.probability > -1, reason="for this test")

    x, maps = scene()
    result = run_battery(Counting(), x, maps, {"odd": metric(faith.changes, score)}, {"black": (black, {})}).by_method[
        "cam"
    ]
    assert set(result["odd", "black"].status) == {"undefined"}
    assert set(result["odd", "black"].reason) == {"for this test"}


def test_two_metrics_that_mean_different_masks_by_one_name_are_refused():
    def keep_all(maps):
        yield MaskedChange("removed", lambda: torch.ones_like(maps.unit))

    x, maps = scene()
    with pytest.raises(StudyInvalid, match="removed"):
        run_battery(Counting(), x, maps, METRICS | {"odd": metric(keep_all, faith.score)}, {"black": (black, {})})


def test_what_is_kept_whole_is_the_image_itself_whatever_the_imputer():
    def keep_all(maps):
        yield MaskedChange("kept", lambda: torch.ones_like(maps.unit))

    def score(base, after):
        return Values(base.logit - after["kept"].logit)

    x, maps = scene()
    found = run_battery(Counting(), x, maps, {"none": metric(keep_all, score)}, IMPUTERS, mean=MEAN, chunk=1).by_method[
        "cam"
    ]
    for imputer in IMPUTERS:
        assert (found["none", imputer].value == 0).all()


def test_imputers_learn_which_image_they_fill():
    seen = []

    def fill(images, context):
        seen.extend(zip(context.image_ids, images[:, 0, 0, 0].tolist(), strict=True))
        assert context.key == ("study", 7)
        return torch.zeros_like(images)

    x, maps = scene()
    ids = [f"image {row}" for row in range(len(x))]
    spy = {"spy": (SimpleNamespace(fill=fill, IMPUTER=Imputer("nothing")), {})}
    run_battery(Counting(), x, maps, METRICS, spy, image_ids=ids, key=("study", 7), chunk=3)
    assert len(seen) == 14
    assert all(pixel == float(x[ids.index(name), 0, 0, 0]) for name, pixel in seen)


@pytest.mark.parametrize("name", registry.names("imputers"))
def test_what_an_earlier_block_has_asked_of_every_image_is_not_filled_again(name):
    """Deletion's last step, all removed, is one image for all maps; later blocks then ask for none of them."""
    x, maps = scene()
    ids = [f"image {row}" for row in range(len(x))]
    imputer, metrics = {name: (registry.load("imputers", name), {})}, {"deletion": (deletion, {"steps": 2})}
    few, whole = (
        run_battery(Counting(), x, maps, metrics, imputer, mean=MEAN, image_ids=ids, chunk=chunk) for chunk in (3, 100)
    )
    for method in maps:
        first, second = (found.by_method[method]["deletion", name].value for found in (few, whole))
        np.testing.assert_allclose(first, second, atol=1e-5)
    assert few.passes_run == whole.passes_run


def test_numpy_maps_are_as_good_as_tensors():
    x, maps = scene()
    plain = {
        name: MethodMaps(s.raw.numpy(), s.grid, s.signed, s.image_of.numpy(), s.target.numpy())
        for name, s in maps.items()
    }
    expected = run_battery(Counting(), x, maps, METRICS, {"black": (black, {})}).by_method["cam"]
    found = run_battery(Counting(), x, plain, METRICS, {"black": (black, {})}).by_method["cam"]
    np.testing.assert_array_equal(found["faith", "black"].value, expected["faith", "black"].value)


def test_no_maps_give_no_rows():
    x, maps = scene()
    none = MethodMaps(maps["cam"].raw[:0], "native", False, maps["cam"].image_of[:0], maps["cam"].target[:0])
    results = run_battery(Counting(), x[:0], {"cam": none}, METRICS, {"black": (black, {})})
    assert len(results.by_method["cam"]["faith", "black"].value) == 0
    assert results.passes_run == results.passes_requested == 0


def test_no_gradient_is_kept_and_no_input_is_changed():
    model, (x, maps) = Counting(), scene()
    before, raw = x.clone(), maps["cam"].raw.clone()
    run_battery(model, x, maps, METRICS, IMPUTERS, mean=MEAN)
    assert torch.equal(x, before)
    assert torch.equal(maps["cam"].raw, raw)
    assert all(parameter.grad is None for parameter in model.net.parameters())
