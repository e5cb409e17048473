"""Measure pixel and perturbation methods relative to captum's: the same settings and rows per pass, in turns.

    python benchmarks/pixels.py [--rounds 5] [--threads 1] [--batch 2] [--only saliency lime ...]

Our methods run as in a job: hooks are opened and closed, diagnostics are computed. captum computes the same diagnostics (its
convergence delta), and its surrogates receive our superpixels, cut in their turn. Passes have 32 rows on both sides.
ResNet-18 is used, and VGG-11 if a rule needs a network without branches. The first ratio is wall time, the second computing
time, to which the goal applies.
"""

import argparse
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial

import torch
from cams import CPU, network, scans, used
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import (
    LRP,
    DeepLift,
    GuidedBackprop,
    GuidedGradCam,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    Lime,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from captum.attr._utils.lrp_rules import EpsilonRule, GammaRule
from torch import Generator, Tensor, nn
from turns import line, take

from gradfaith.attribution import shared_passes
from gradfaith.attribution.bound_method import BoundMethod, MethodCall
from gradfaith.attribution.support.superpixels import cut_superpixels
from gradfaith.models import layers
from gradfaith.models.classifier import Classifier
from gradfaith.runtime.device import AdaptiveBatch

ROWS, GOAL = 32, 1.05
STEPS, SAMPLES, WINDOW, STRIDE, SEGMENTS, COPIES = 16, 16, 64, 32, 20, 64
OPTIONS: dict[str, dict[str, object]] = {
    "integrated_gradients": {"steps": STEPS},
    "smoothgrad": {"samples": SAMPLES},
    "occlusion": {"window": WINDOW, "stride": STRIDE},
    "lime": {"segments": SEGMENTS, "samples": COPIES, "fill": "grey"},
    "kernel_shap": {"segments": SEGMENTS, "samples": COPIES, "fill": "grey"},
}
ON_VGG = ("deeplift", "lrp")
model = cache(network)


def ours(classifier: Classifier, images: Tensor, uses: Sequence[BoundMethod]) -> None:
    layers_ = [layer for use in uses for layer in use.layers]
    streams = [Generator().manual_seed(row) for row in range(len(images))]
    with shared_passes.open_shared_passes(classifier, images, layers_, chunk=AdaptiveBatch(ROWS, CPU)) as shared:
        inputs = shared.for_target(torch.zeros(len(images), dtype=torch.long), torch.arange(len(images)), "logit")
        for use in uses:
            use.attribute(MethodCall(inputs, streams, (1, 1), None))


def gradients(classifier: Classifier, images: Tensor) -> dict[str, Callable[[], object]]:
    """Return captum's gradient methods."""
    deep = classifier.net.get_submodule(layers.default_layer(classifier.net))
    black = torch.zeros_like(images)
    return {
        "saliency": partial(Saliency(classifier).attribute, images, 0),
        "input_x_gradient": partial(InputXGradient(classifier).attribute, images, 0),
        "integrated_gradients": partial(
            IntegratedGradients(classifier).attribute, images, 0.0, 0, n_steps=STEPS, method="gausslegendre",
            internal_batch_size=ROWS, return_convergence_delta=True,
        ),
        "smoothgrad": partial(
            NoiseTunnel(Saliency(classifier)).attribute, images, nt_type="smoothgrad", nt_samples=SAMPLES,
            nt_samples_batch_size=ROWS // len(images), stdevs=0.15, target=0, abs=False,
        ),
        "deeplift": partial(DeepLift(classifier).attribute, images, black, 0, return_convergence_delta=True),
        "guided_backprop": partial(GuidedBackprop(classifier).attribute, images, 0),
        "guided_gradcam": partial(GuidedGradCam(classifier, deep).attribute, images, 0, interpolate_mode="bilinear"),
        "lrp": partial(relevance, classifier.net, images.expand(-1, 3, -1, -1)),
    }  # fmt: skip


def perturbations(classifier: Classifier, images: Tensor) -> dict[str, Callable[[], object]]:
    """Return captum's perturbation methods."""
    windows = {"sliding_window_shapes": (1, WINDOW, WINDOW), "strides": (1, STRIDE, STRIDE), "baselines": 0.0}
    together = ROWS // len(images)
    occlusion = partial(Occlusion(classifier).attribute, images, target=0, perturbations_per_eval=together, **windows)
    lime, shap = Lime(classifier, SkLearnRidge(alpha=1.0)), KernelShap(classifier)
    return {
        "occlusion": occlusion,
        "lime": partial(surrogate, lime, images, COPIES + 1),
        "kernel_shap": partial(surrogate, shap, images, COPIES + 2),
    }


def surrogate(method: Lime | KernelShap, images: Tensor, copies: int) -> None:
    """Run one image after the other, as captum requires."""
    for image in images:
        mask, grey = cut_superpixels(image, SEGMENTS)[None, None], torch.full_like(image[None], 0.5)
        asked = {"feature_mask": mask, "n_samples": copies, "perturbations_per_eval": ROWS}
        method.attribute(image[None], grey, 0, **asked)


def relevance(net: nn.Module, images: Tensor) -> Tensor:
    """Run LRP with rules for layers that captum has none for; they are removed with captum's `activations`."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.rule = GammaRule(0.25)
        elif isinstance(module, nn.Identity | nn.Flatten | nn.Dropout | nn.AdaptiveAvgPool2d | nn.Linear):
            module.rule = EpsilonRule()
    found: Tensor = LRP(net).attribute(images, 0)
    return found


def main() -> None:
    names = [*gradients(model("resnet18"), scans(1)), *perturbations(model("resnet18"), scans(1))]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=names, default=names)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    warnings.simplefilter("ignore")  # captum's warnings about its hooks
    for name in asked.only:
        arch = "vgg11" if name in ON_VGG else "resnet18"
        classifier, images = model(arch), scans(asked.batch)
        theirs = gradients(classifier, images) | perturbations(classifier, images)
        uses = used(classifier, name, **OPTIONS.get(name, {}))
        took = take({"ours": partial(ours, classifier, images, uses), "captum": theirs[name]}, asked.rounds)
        line(f"{name} / captum's, {arch} x {asked.batch}", took.ratio("ours", "captum"), GOAL, computing=True)


if __name__ == "__main__":
    main()
