"""Measure CAMs relative to a bare forward and to other libraries: medians of paired rounds, in turns.

    python benchmarks/cams.py [--rounds 9] [--threads 2] [--only gradcam six ablation refine fast]

gradcam    Grad-CAM of a batch over the forward, and over captum's
six        six CAMs of the default layer over one forward, and the speed-up over the same six with grad-cam
ablation   one image, every channel of the last stage, compared with grad-cam
refine     four layers, over a forward with a gradient to the shallowest of them, and compared with grad-cam
fast       bfloat16 with channels last over single precision, and the rank agreement of the maps

The output contains the goals. The first ratio is wall time, the second computing time.
"""

import argparse
import copy
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module

import torch
from captum.attr import LayerGradCam
from scipy.stats import spearmanr
from torch import Tensor
from turns import line, take

from gradfaith.attribution import shared_passes
from gradfaith.attribution.bound_method import BoundMethod, MethodCall, bind_methods
from gradfaith.attribution.contract import MapsWithDiagnostics
from gradfaith.attribution.taps import tap_layers
from gradfaith.config.job_settings import MethodSettings
from gradfaith.config.sections import Passes
from gradfaith.models import layers, speed
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier
from gradfaith.runtime.device import AdaptiveBatch

peers = import_module(
    "pytorch_grad_cam"
)  # only now: beside a CPU-only torch, torchvision needs the import of gradfaith first
ClassifierOutputTarget = import_module("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
RefineCAM = import_module("pytorch_grad_cam.refine_cam").RefineCAM
CASES = {"resnet50": 8, "densenet161": 4, "efficientnet_b0": 8, "vit_base_patch16_224": 2}
SIX = ("gradcam", "gradcam_pp", "layercam", "hirescam", "xgradcam", "shapleycam")
THEIRS = ("GradCAM", "GradCAMPlusPlus", "LayerCAM", "HiResCAM", "XGradCAM", "GradCAM")  # its ShapleyCAM fails on a ViT
CPU = torch.device("cpu")


def network(name: str) -> Classifier:
    return build_classifier(ClassifierSpec(name, 3, 1, 3, 224, 0.5, 0.25)).eval()


def scans(batch: int) -> Tensor:
    return torch.rand(batch, 1, 224, 224, generator=torch.Generator().manual_seed(0))


def used(classifier: Classifier, *names: str, layer: str = "auto", **options: object) -> list[BoundMethod]:
    how = {"layer": layer, "options": options, "score": "logit", "reading": "positive", "shuffled": False}
    return bind_methods(classifier, {name: MethodSettings(group="methods", use=name, **how) for name in names})


def explain(classifier: Classifier, images: Tensor, uses: Sequence[BoundMethod]) -> list[Tensor]:
    """Compute maps as a job does: one forward, one short backward, every method; hooks are opened and closed."""
    curved = any("curvature" in use.needs for use in uses)
    taps = [layer for use in uses for layer in use.layers]
    with shared_passes.open_shared_passes(
        classifier, images, taps, chunk=AdaptiveBatch(32, CPU), curved=curved
    ) as shared:
        inputs = shared.for_target(torch.zeros(len(images), dtype=torch.long), torch.arange(len(images)), "logit")
        answers = [use.attribute(MethodCall(inputs, [], (1, 1), None)) for use in uses]
    return [answer.maps if isinstance(answer, MapsWithDiagnostics) else answer for answer in answers]


def bare(classifier: Classifier, images: Tensor) -> None:
    with torch.no_grad():
        classifier(images)


def on_grid(tokens: Tensor) -> Tensor:
    return tokens[:, 1:].reshape(len(tokens), 14, 14, -1).permute(0, 3, 1, 2)


def peer(classifier: Classifier, images: Tensor, classes: Sequence[str]) -> None:
    module = classifier.net.get_submodule(layers.default_layer(classifier.net))
    reshape = on_grid if classifier.spec.timm.startswith("vit") else None
    for cls in classes:
        with getattr(peers, cls)(classifier, [module], reshape_transform=reshape) as cam:
            cam(images, [ClassifierOutputTarget(0)] * len(images))


def gradcam(rounds: int) -> None:
    for name, batch in CASES.items():
        classifier, images = network(name), scans(batch)
        turns: dict[str, Callable[[], object]] = {
            "forward": partial(bare, classifier, images),
            "ours": partial(explain, classifier, images, used(classifier, "gradcam")),
        }
        if not name.startswith("vit"):  # captum has no adapter for tokens: its result there is not a map
            module = classifier.net.get_submodule(layers.default_layer(classifier.net))
            turns["captum"] = partial(LayerGradCam(classifier, module).attribute, images, 0, relu_attributions=True)
        took = take(turns, rounds)
        goal = 1.09 if name.startswith("vit") else 1.10
        line(f"Grad-CAM / forward, {name} x {batch}", took.ratio("ours", "forward"), goal)
        if "captum" in turns:
            line(f"Grad-CAM / captum's, {name} x {batch}", took.ratio("ours", "captum"), 1.0)


def six(rounds: int) -> None:
    for name, batch in CASES.items():
        classifier, images = network(name), scans(batch)
        took = take(
            {
                "forward": partial(bare, classifier, images),
                "ours": partial(explain, classifier, images, used(classifier, *SIX)),
                "grad-cam": partial(peer, classifier, images, THEIRS),
            },
            rounds,
        )
        goal = 1.28 if name.startswith("vit") else 1.25
        line(f"six CAMs / forward, {name} x {batch}", took.ratio("ours", "forward"), goal)
        line(f"grad-cam's six / ours, {name} x {batch}", took.ratio("grad-cam", "ours"), 10, at_least=True)


def ablation(rounds: int) -> None:
    for name in ("resnet18", "resnet50"):
        classifier, images = network(name), scans(1)
        with torch.no_grad():
            took = take({"ours": partial(explain_with_gradient, classifier, images)}, 3 * rounds)
        theirs = take({"grad-cam": partial(peer, classifier, images, ["AblationCAM"])}, max(1, rounds // 4))
        found = theirs.seconds("grad-cam") / took.seconds("ours")
        print(f"{'':4}ours {took.seconds('ours'):.3f} s, grad-cam's {theirs.seconds('grad-cam'):.3f} s")
        line(f"grad-cam's Ablation-CAM / ours, {name} x 1", (found, found), 40, at_least=True)


def explain_with_gradient(classifier: Classifier, images: Tensor) -> None:
    with torch.enable_grad():
        explain(classifier, images, used(classifier, "ablationcam"))


def refine(rounds: int) -> None:
    classifier, images = network("resnet50"), scans(8)

    def floor() -> None:
        with tap_layers(classifier, "layer1") as tap:
            tap.forward(images)
            tap.single_tap(torch.zeros(8, dtype=torch.long))

    stack = [classifier.net.get_submodule(layer) for layer in layers.layer_stack(classifier.net)]

    def theirs() -> None:
        RefineCAM(classifier, stack, base_method=peers.LayerCAM)(images, [ClassifierOutputTarget(0)] * 8)

    uses = used(classifier, "refine", of="layercam", combine="product")
    took = take({"floor": floor, "ours": partial(explain, classifier, images, uses), "grad-cam": theirs}, rounds)
    line("RefineCAM / forward and gradient to layer1, resnet50 x 8", took.ratio("ours", "floor"), 1.1)
    line("grad-cam's RefineCAM / ours, resnet50 x 8", took.ratio("grad-cam", "ours"), 4, at_least=True)


def fast(rounds: int) -> None:
    classifier, images = network("resnet50"), scans(8)
    for fold in (False, True):
        passes = Passes(precision="bf16", channels_last=True, fold_batch_norm=fold)
        quick = speed.prepare_for_speed(copy.deepcopy(classifier), passes)
        ours = {"plain": partial(explain, classifier, images, used(classifier, "gradcam"))}
        ours["quick"] = partial(explain, quick, images, used(quick, "gradcam"))
        took = take(ours, rounds)
        what = "bf16, channels last" + (", folded" if fold else "")
        line(f"Grad-CAM, {what} / float32, resnet50 x 8", took.ratio("quick", "plain"), 0.5)
        for method in ("gradcam", "layercam", "hirescam"):
            pairs = zip(
                explain(classifier, images, used(classifier, method))[0],
                explain(quick, images, used(quick, method))[0],
                strict=True,
            )
            ranks = [float(spearmanr(one.flatten(), other.flatten()).statistic) for one, other in pairs if one.any()]
            print(f"{'':4}rank agreement of {method}: lowest {min(ranks):.4f} of {len(ranks)} maps (random weights)")


def main() -> None:
    parts = {"gradcam": gradcam, "six": six, "ablation": ablation, "refine": refine, "fast": fast}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=parts, default=list(parts))
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    for part in asked.only:
        parts[part](asked.rounds)


if __name__ == "__main__":
    main()
