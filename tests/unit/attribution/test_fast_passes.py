"""Maps and scores of a network whose passes were made faster are those of its plain passes, up to rounding: 20 families."""

from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from typed import typed_methods

from gradfaith.attribution.bound_method import BoundMethod, MethodCall, bind_methods, tapped_layers
from gradfaith.attribution.contract import MapsWithDiagnostics
from gradfaith.attribution.shared_passes import open_shared_passes
from gradfaith.config.sections import Passes
from gradfaith.models import speed
from gradfaith.models.classifier import Classifier, probe_images
from gradfaith.runtime.device import AdaptiveBatch

ROOT = Path(__file__).parents[3]
FAMILIES = (
    "byobnet", "cspnet", "densenet", "dla", "dpn", "efficientnet", "ghostnet", "hgnet", "hrnet", "inception_v3",
    "mobilenetv3", "regnet", "repghost", "res2net", "resnet", "resnetv2", "senet", "starnet", "vgg", "xception",
)  # fmt: skip
CAMS = ("gradcam", "gradcam_pp", "layercam", "hirescam", "eigencam")
PIXEL_METHODS = ("saliency", "input_x_gradient")
LARGEST_CHANGE = 1e-5


def settled(classifier: Classifier) -> Classifier:
    """Batch norms with gains and statistics of their own."""
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    with torch.no_grad():
        for _ in range(3):
            classifier.train()(probe_images(classifier))
    return classifier.eval()


def maps_of(classifier: Classifier, methods: list[BoundMethod], images: Tensor, target: Tensor) -> dict[str, Tensor]:
    found = {}
    with open_shared_passes(
        classifier, images, tapped_layers(methods), chunk=AdaptiveBatch(8, images.device), curved=False
    ) as shared:
        inputs = shared.for_target(target, torch.arange(len(images)), "logit")
        for method in methods:
            result = method.attribute(MethodCall(inputs, [], (1, 1), None))
            found[method.label] = result.maps if isinstance(result, MapsWithDiagnostics) else result
    return found


def shown(images: Tensor, maps: Tensor) -> Tensor:
    """The images, dimmed where the map is low."""
    grown = interpolate(maps[:, None], size=images.shape[-2:], mode="bilinear")
    return images * grown / grown.amax(dim=(2, 3), keepdim=True).clamp(min=1e-12)


@pytest.mark.parametrize("module", FAMILIES)
def test_maps_and_scores_are_those_of_plain_passes(page: ModuleType, module: str) -> None:
    torch.manual_seed(0)
    plain = settled(page.build_example(module))
    methods = bind_methods(plain, typed_methods({name: {"use": name} for name in CAMS + PIXEL_METHODS}))
    fast = speed.prepare_for_speed(plain, Passes(), tapped_layers(methods))
    assert fast.passes.channels_last, "the table names the family"
    images = probe_images(plain)[:2]
    with torch.no_grad():
        target = plain(images).argmax(dim=1)
    before, after = (maps_of(network, methods, images, target) for network in (plain, fast))
    for name in CAMS:
        largest = before[name].abs().amax()
        assert largest > 0, name
        times = 8 if name == "gradcam_pp" else 2  # its weights are ratios of powers of the gradient
        assert (after[name] - before[name]).abs().amax() <= times * LARGEST_CHANGE * largest, name
    for name in PIXEL_METHODS:  # a unit that rounding carries over the kink of its ReLU changes the pixels that it sees
        assert (after[name] - before[name]).norm() <= 0.01 * before[name].norm(), name
    for maps in before.values():
        with torch.no_grad():
            one, other = (network(shown(images, maps.abs())).softmax(dim=1) for network in (plain, fast))
        assert (one - other).abs().amax() <= LARGEST_CHANGE
