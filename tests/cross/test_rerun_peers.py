"""Metrics that explain again, and the composites, beside grad-cam's and captum's; and where a judge is wrong, the minimal case.

The network sees pixels as they are (mean 0, deviation 1), so that grad-cam, which masks what the network sees, masks what we do.
"""

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from typed import typed_methods

from gradfaith.attribution import bound_method
from gradfaith.attribution import cell as cell_attribution
from gradfaith.attribution import rerun as rerun_attribution
from gradfaith.metrics.composite import arcc, arcc_literature
from gradfaith.metrics.contract import MethodMaps, RerunBatch
from gradfaith.metrics.faithfulness import (
    average_drop_pgc,
    coherency,
    coherency_literature,
    complexity,
    increase_in_confidence,
    max_sensitivity,
    road,
    road_pgc,
)
from gradfaith.metrics.imputers import black, noisy_linear
from gradfaith.metrics.maps.evaluate import evaluate
from gradfaith.metrics.runners import masking as masking_runners
from gradfaith.metrics.runners import rerun
from gradfaith.models.classifier import Classifier, ClassifierSpec
from gradfaith.runtime.device import AdaptiveBatch
from gradfaith.scoring.composite import score_composite

SIZE, IMAGES, LAYER = 96, 6, "3"
ROWS, IDS = torch.arange(IMAGES), [f"image {row}" for row in range(IMAGES)]
GRADCAM = {"group": "methods", "use": "gradcam", "layer": LAYER, "options": {}, "score": "logit", "shuffled": False}
BLACK, FILLED = {"black": (black, {})}, {"noisy_linear": (noisy_linear, {})}


def peer(module: str, name: str) -> Any:
    return getattr(import_module(f"pytorch_grad_cam{module}"), name)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    """Two layers of random edges and blobs, and a head so steep that pixels matter to its answer."""
    torch.manual_seed(4)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(8, 12, 5, stride=4, padding=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3),
    )  # fmt: skip
    with torch.no_grad():
        net[-1].weight.mul_(60)  # type: ignore[operator, union-attr]
    return Classifier(net, ClassifierSpec("a test's own", 3, 1, 1, SIZE, 0.0, 1.0)).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Bright places on dark pictures, with some grain, so that an order of pixels matters."""
    draw = torch.Generator().manual_seed(2)
    large, grain = torch.rand(IMAGES, 1, 7, 7, generator=draw), torch.rand(IMAGES, 1, SIZE, SIZE, generator=draw)
    return 0.9 * interpolate(large.pow(3), size=(SIZE, SIZE), mode="bilinear") + 0.1 * grain


@pytest.fixture(scope="module")
def explainer(classifier: Classifier) -> rerun_attribution.Reexplainer:
    use = bound_method.bind_methods(classifier, typed_methods({"gradcam": GRADCAM}))
    cell = cell_attribution.MapCell(
        classifier, lambda _ids: np.zeros(0, np.uint8), pd.DataFrame(), use, (0,), 1, 32, probe_layers=False
    )
    return rerun_attribution.Reexplainer({"trained": cell}, AdaptiveBatch(32, torch.device("cpu")))


@pytest.fixture(scope="module")
def target(classifier: Classifier, images: Tensor) -> Tensor:
    with torch.no_grad():
        return classifier(images).argmax(dim=1)


@pytest.fixture(scope="module")
def stored(explainer: rerun_attribution.Reexplainer, images: Tensor, target: Tensor) -> MethodMaps:
    asked = RerunBatch(images, target, IDS, ["as it is"] * IMAGES, {("gradcam", 0): ROWS}, "trained")
    return MethodMaps(explainer(asked)["gradcam", 0], "native", False, ROWS, target)


def test_coherency_is_grad_cam_s_by_a_complete_re_run(classifier, images, stored, explainer, target) -> None:
    metrics = {"mended": (coherency, {}), "theirs": (coherency_literature, {})}
    ours = rerun.run_battery(explainer, images, {("gradcam", 0): stored}, metrics, BLACK, image_ids=IDS).by_method[
        "gradcam", 0
    ]
    assert (ours["mended", "black"].status == "ok").all()
    theirs = _theirs(classifier, images, target, "Coherency", with_method=True)
    np.testing.assert_allclose(ours["mended", "black"].value, theirs, atol=1e-4)
    np.testing.assert_allclose(ours["theirs", "black"].value, theirs, atol=1e-4)
    assert np.ptp(theirs) > 1e-3


def _theirs(classifier: Classifier, images: Tensor, target: Tensor, name: str, *, with_method: bool) -> Any:
    """grad-cam's metric of grad-cam's own map; its ARCC makes every part itself."""
    targets = [peer(".utils.model_targets", "ClassifierOutputTarget")(int(one)) for one in target]
    soft = [peer(".utils.model_targets", "ClassifierOutputSoftmaxTarget")(int(one)) for one in target]
    with peer("", "GradCAM")(classifier, [classifier.net.get_submodule(LAYER)]) as method:
        maps = method(images, targets)
        metric = peer(".metrics.arcc", name)
        given = (images, maps, soft if name == "ARCC" else targets, classifier)
        return metric()(*given, method) if with_method else metric(method)(*given)


@pytest.fixture(scope="module")
def parts(
    classifier: Classifier, images: Tensor, stored: MethodMaps, explainer: rerun_attribution.Reexplainer
) -> dict[str, Any]:
    """Everything that an ARCC is made of, as our batteries measure it."""
    maps = {("gradcam", 0): stored}
    masking = {"complexity": (complexity, {}), "drop": (average_drop_pgc, {}), "rise": (increase_in_confidence, {})}
    ranking = {"road": (road, {}), "road_pgc": (road_pgc, {})}
    again_ = {"coherency": (coherency, {}), "coherency_literature": (coherency_literature, {})}
    found = {
        **masking_runners.run_battery(classifier, images, maps, masking, BLACK, image_ids=IDS).by_method["gradcam", 0],
        **masking_runners.run_battery(classifier, images, maps, ranking, FILLED, image_ids=IDS).by_method["gradcam", 0],
        **rerun.run_battery(explainer, images, maps, again_, BLACK, image_ids=IDS).by_method["gradcam", 0],
    }
    return {metric: result for (metric, _), result in found.items()}


def test_complexity_drop_and_increase_are_grad_cam_s(classifier, images, stored, target, parts) -> None:
    maps = evaluate(stored.raw, grid="native", signed=False, size=(SIZE, SIZE)).unit.numpy()
    np.testing.assert_allclose(parts["complexity"].value, peer(".metrics.arcc", "Complexity")()(maps), atol=1e-5)
    soft = [peer(".utils.model_targets", "ClassifierOutputSoftmaxTarget")(int(one)) for one in target]
    for ours, theirs in (("drop", "DropInConfidence"), ("rise", "IncreaseInConfidence")):
        metric = peer(".metrics.cam_mult_image", theirs)()
        np.testing.assert_allclose(parts[ours].value, metric(images, maps, soft, classifier), atol=1e-5)


def test_arcc_of_the_literature_is_grad_cam_s_up_to_the_noise_of_its_filling(classifier, images, target, parts) -> None:
    """grad-cam makes map, parts and composite itself; its noise has no seed of ours, and a steep head shows that a little."""
    torch.manual_seed(0)
    theirs = _theirs(classifier, images, target, "ARCC", with_method=False)
    literature = score_composite(arcc_literature, {name: parts[name] for name in arcc_literature.METRIC.parts}, {})
    assert (literature.status == "ok").all()
    np.testing.assert_allclose(literature.value, theirs, atol=0.01)
    assert 0.1 < theirs.min() < theirs.max() < 0.9
    mended = score_composite(arcc, {name: parts[name] for name in arcc.METRIC.parts}, {})
    np.testing.assert_allclose(mended.value, literature.value, atol=0.02)  # a dense map without ties


def test_the_minimal_case_against_grad_cam_s_coherency_a_map_that_vanishes() -> None:
    """A method that shows dark places beside bright ones has masked the bright ones, and shows nothing of what is left: grad-cam says
    half coherent, as it does of two unrelated maps."""
    image = torch.tensor([[[[0.5, 1.0], [1.0, 1.0]]]])

    def dark(images: Tensor) -> Tensor:  # (n, h, w)
        return (0.9 - images[:, 0]).clamp(min=0) * (images[:, 0].amax(dim=(1, 2), keepdim=True) > 0.9)

    raw = dark(image)
    alone = {"dark": MethodMaps(raw, "input", False, torch.arange(1), torch.arange(1))}

    def ask(asked: RerunBatch) -> dict[str, Tensor]:
        return {"dark": dark(asked.images[asked.wanted["dark"]])}

    metrics = {"coherency": (coherency, {}), "literature": (coherency_literature, {})}
    found = rerun.run_battery(ask, image, alone, metrics, BLACK).by_method["dark"]
    unit = (raw / raw.max()).numpy()
    theirs = peer(".metrics.arcc", "Coherency")()
    said = theirs(image, unit, [None], None, lambda input_tensor, targets: dark(input_tensor).numpy())
    assert said.tolist() == [0.5] == found["literature", "black"].value.tolist()
    assert found["coherency", "black"].status.tolist() == ["undefined"]


def noise_of(explain_: Any, images: Tensor, stored: MethodMaps, draws: int, radius: float) -> tuple[Any, list[Tensor]]:
    """Our number, and every draw's noise by image."""
    seen: list[Tensor] = []

    def ask(asked: RerunBatch) -> Any:
        seen.append(asked.images)
        return explain_(asked)

    metrics = {"s": (max_sensitivity, {"draws": draws, "radius": radius})}
    found = rerun.run_battery(ask, images, {("gradcam", 0): stored}, metrics, {}, image_ids=IDS, chunk=draws * IMAGES)
    return found.by_method["gradcam", 0]["s", ""], list(torch.cat(seen).reshape(draws, IMAGES, 1, SIZE, SIZE) - images)


def test_max_sensitivity_is_captum_s_under_the_same_noise(classifier, images, stored, explainer, target) -> None:
    from captum.attr import LayerGradCam
    from captum.metrics import sensitivity_max

    draws, radius = 4, 0.05
    ours, noises = noise_of(explainer, images, stored, draws, radius)
    method, left = LayerGradCam(classifier, classifier.net.get_submodule(LAYER)), list(noises)

    def disturb(given: Tensor, _radius: float) -> Tensor:
        """Image by image as many draws as captum wants at once."""
        some = [left.pop() for _ in range(len(given) // IMAGES)]
        return given + torch.stack(some, dim=1).flatten(0, 1)

    theirs = sensitivity_max(
        lambda given, target: (method.attribute(given, target, relu_attributions=True).detach(),),
        images, disturb, perturb_radius=radius, n_perturb_samples=draws, target=target,
    )  # fmt: skip
    assert not left
    np.testing.assert_allclose(ours.value, theirs.numpy(), rtol=1e-4)
    assert ours.value.min() > 0.01


def test_the_minimal_case_against_captum_s_sensitivity_a_map_of_nothing() -> None:
    """Relative to a map that is zero there is no change: captum divides by 1 instead and gives the absolute one, 0.3."""
    from captum.metrics import sensitivity_max

    image = torch.zeros(1, 1, 1, 2)
    theirs = sensitivity_max(lambda given: given, image, lambda given, _radius: given + torch.tensor([0.3, 0.0]))
    assert theirs.tolist() == pytest.approx([0.3])
    alone = {"m": MethodMaps(image[:, 0], "input", True, torch.arange(1), torch.arange(1))}
    ask = SimpleNamespace(of=lambda asked: {"m": asked.images[asked.wanted["m"]][:, 0]}).of
    found = rerun.run_battery(ask, image, alone, {"s": (max_sensitivity, {"draws": 2})}, {}).by_method["m"]["s", ""]
    assert found.status.tolist() == ["degenerate"]
