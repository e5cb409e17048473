"""Compare a complete evaluation with the same work in grad-cam and Quantus; each side runs in its own processes.

    python benchmarks/evaluation.py [--networks resnet50 resnet18 mobilenetv4_conv_small] [--rounds 3] [--threads 2]

16 images of one channel at 224 px, random weights with a scaled head, the predicted class. Six CAMs of the default layer;
average drop, increase in confidence, deletion and insertion in 16 steps (Quantus needs a divisor of the pixels),
faithfulness correlation with 50 sets, ROAD at 20, 40, 60 and 80 % in both orders, pointing game and mass accuracy. Our side
runs as jobs do: maps into an HDF5 store, scores from it into tables.

ours           the product's defaults
ours, plain    without the allocator's settings, channels_last and folded batch norms
ours, bf16     maps and scores in bfloat16; a study's `explain.precision: bf16` means its maps only
peers          grad-cam (CAMs, average drop, increase, ROAD) and Quantus (the rest), with the system's allocator
peers, tuned   the same with our allocator settings

Sides take turns. Seconds are medians of the rounds, without imports, building of networks and writing of images. Images
count each time that the network processes them. Peak memory is that of the process, including imports. The last lines show
how far the values of the sides differ, image by image.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from plain import plain_methods
from torch.nn.functional import interpolate

from gradfaith.config.sections import Passes
from gradfaith.config.study import PluginUse
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier
from gradfaith.models.layers import default_layer
from gradfaith.runtime import device
from gradfaith.storage.hdf5 import ImageStore, ImageWriter, MapStore, MapWriter

GOALS = {"resnet50": 4.0, "resnet18": 5.5, "mobilenetv4_conv_small": 11.0}
SIDES = ("ours", "ours, plain", "ours, bf16", "peers", "peers, tuned")
IMAGES, SIZE, CLASSES, STEPS, SETS, SHARES = 16, 224, ("a", "b", "c"), 16, 50, (0.2, 0.4, 0.6, 0.8)
IDS = [f"image-{number:02d}" for number in range(IMAGES)]
CAMS = {"gradcam": "GradCAM", "gradcam_pp": "GradCAMPlusPlus", "layercam": "LayerCAM", "hirescam": "HiResCAM",
        "xgradcam": "XGradCAM", "eigencam": "EigenCAM"}  # fmt: skip
BATTERIES: Mapping[str, tuple[Mapping[str, dict[str, Any]], str]] = {
    "masking": ({"average_drop": {}, "increase_in_confidence": {}}, "black"),
    "curves": ({"deletion": {"steps": STEPS}, "insertion": {"steps": STEPS}, "faithfulness_correlation": {"subsets": SETS}}, "black"),
    "ROAD": ({"road": {"shares": SHARES}}, "noisy_linear"),
}  # fmt: skip
LOCALIZATION = ("pointing_game", "saliency_score")
Values = dict[str, NDArray[np.float64]]  # metric -> (methods, images)


class Part:
    """Measures seconds by part, and counts images through the network."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.images = 0

    def count(self, _module: object, inputs: tuple[Any, ...]) -> None:
        self.images += len(inputs[0])

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def network(name: str) -> Classifier:
    """Return a network with random weights; its head is scaled so that probabilities differ between images."""
    classifier = build_classifier(ClassifierSpec(name, len(CLASSES), 1, 3, SIZE, 0.5, 0.25)).eval()
    with torch.no_grad():
        logits = classifier(torch.from_numpy(scans()[0]).float() / 255)
        head = classifier.net.get_classifier()  # type: ignore[operator]
        head.weight.mul_(1 / logits.std(dim=0).mean())
        head.bias.sub_(classifier(torch.from_numpy(scans()[0]).float() / 255).mean(dim=0))
    return classifier


def scans() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return images with large structures and grain (n, 1, h, w), and a disc of evidence in each (n, h, w)."""
    draw = torch.Generator().manual_seed(1)
    large, grain = torch.rand(IMAGES, 1, 9, 9, generator=draw), torch.rand(IMAGES, 1, SIZE, SIZE, generator=draw)
    pixels = 0.8 * interpolate(large, size=(SIZE, SIZE), mode="bilinear") + 0.2 * grain
    centre = 40 + 144 * torch.rand(IMAGES, 2, generator=draw)
    down = torch.arange(SIZE)
    distance = (down[None, :, None] - centre[:, 0, None, None]) ** 2 + (
        down[None, None] - centre[:, 1, None, None]
    ) ** 2
    return (255 * pixels).byte().numpy(), (distance < 20**2).numpy()


# ---- our side: as the scripts explain, faithfulness and localization ----


def ours(classifier: Classifier, images: ImageStore, folder: Path, passes: Passes, part: Part) -> Values:
    from gradfaith.attribution.bound_method import bind_methods
    from gradfaith.attribution.cell import MapCell, map_rows
    from gradfaith.models.speed import prepare_for_speed
    from gradfaith.scoring import faithfulness, localization
    from gradfaith.scoring.score_rows import load_plugins

    predictions, cell = predicted(classifier, images), {"arch": "net", "seed": 0}
    with part.of("maps"):
        layer = default_layer(classifier.net)
        model = prepare_for_speed(classifier, passes, [layer])
        methods = bind_methods(model, plain_methods(CAMS))
        rows = map_rows(predictions, CLASSES)
        with MapWriter(folder / "maps.h5", rows, {}) as writer:
            for chunk in MapCell(model, images.pixels, rows, methods, (0, "net", 0), 1, "auto").map_chunks():
                writer.put(chunk.label, chunk.info, chunk.start, chunk.maps, chunk.seconds, chunk.diagnostics)
    tables = []
    with MapStore(folder / "maps.h5") as maps:
        for battery, (metrics, imputer) in BATTERIES.items():
            with part.of(battery):
                plugins = load_plugins(
                    "faithfulness", {name: PluginUse(use=name, options=own) for name, own in metrics.items()}
                )
                fills = load_plugins("imputers", {imputer: PluginUse(use=imputer)})
                scored = faithfulness.score_faithfulness(
                    model, images, maps, predictions, plugins, fills, cell, 0, chunk="auto", explain=None
                )
                tables += [table.scores for table in scored]
        with part.of("localization"):
            plugins = load_plugins("localization", {name: PluginUse(use=name) for name in LOCALIZATION})
            tables += list(localization.score_localization(images, [maps], predictions, plugins, cell))
    scores = pd.concat(tables)
    return {metric: table.pivot(index="method", columns="image_id", values="value").loc[list(CAMS), IDS].to_numpy()
            for metric, table in scores.groupby("metric")}  # fmt: skip


def predicted(classifier: Classifier, images: ImageStore) -> pd.DataFrame:
    with torch.no_grad():
        number = classifier(torch.from_numpy(images.pixels(IDS)).float() / 255).argmax(dim=1).tolist()
    named = [CLASSES[one] for one in number]
    about = {"group": IDS, "part": "test", "label": named, "predicted": named, "correct": True}
    return pd.DataFrame({"image_id": IDS, **about})


# ---- peers: grad-cam and Quantus, called as in their documentation, in batches of all images ----


def peers(classifier: Classifier, images: ImageStore, _folder: Path, _passes: Passes, part: Part) -> Values:
    from importlib import import_module

    cams, targets_of = import_module("pytorch_grad_cam"), import_module("pytorch_grad_cam.utils.model_targets")
    road, mult = (
        import_module("pytorch_grad_cam.metrics.road"),
        import_module("pytorch_grad_cam.metrics.cam_mult_image"),
    )
    quantus = import_module("quantus")
    pixels = torch.from_numpy(images.pixels(IDS)).float() / 255
    x, masks = pixels.numpy(), images.mask("evidence", IDS)[0]
    y = np.array([CLASSES.index(name) for name in predicted(classifier, images)["predicted"]])
    logits = [targets_of.ClassifierOutputTarget(number) for number in y]
    shares = [targets_of.ClassifierOutputSoftmaxTarget(number) for number in y]
    layer, found = classifier.net.get_submodule(default_layer(classifier.net)), dict[str, list[Any]]()
    quiet = {"normalise": False, "abs": False, "disable_warnings": True, "display_progressbar": False}
    call = {"model": classifier, "x_batch": x, "y_batch": y, "batch_size": IMAGES, "channel_first": True}
    flips = quantus.PixelFlipping(features_in_step=SIZE * SIZE // STEPS, perturb_baseline=0.0, **quiet)
    subsets = quantus.FaithfulnessCorrelation(
        nr_runs=SETS, subset_size=round(0.2 * SIZE * SIZE), perturb_baseline=0.0, return_aggregate=False, **quiet
    )
    combined = road.ROADCombined(percentiles=[round(100 * share) for share in SHARES])
    with part.of("curves"), torch.no_grad():
        unchanged = classifier(pixels).softmax(dim=1)[range(IMAGES), y].numpy()
    for cls in CAMS.values():
        with part.of("maps"), getattr(cams, cls)(classifier, [layer]) as method:
            maps = method(pixels, logits)
        a = {"a_batch": maps[:, None]}
        with part.of("masking"):
            after = {"average_drop": mult.DropInConfidence(), "increase_in_confidence": mult.IncreaseInConfidence()}
            scores = {name: metric(pixels, maps, shares, classifier) for name, metric in after.items()}
        with part.of("curves"):
            scores["deletion"] = area(unchanged, flips(**call, **a, softmax=True))
            backwards = {"a_batch": -maps[:, None]}  # least relevant first: insertion in reverse
            scores["insertion"] = area(unchanged, flips(**call, **backwards, softmax=True))
            scores["faithfulness_correlation"] = subsets(**call, **a, softmax=False)
        with part.of("ROAD"):
            scores["road"] = 2 * combined(pixels, maps, shares, classifier)  # ours is not halved
        with part.of("localization"):
            where = {**call, **a, "s_batch": masks[:, None]}
            scores["pointing_game"] = quantus.PointingGame(**quiet)(**where)
            scores["saliency_score"] = quantus.RelevanceMassAccuracy(**quiet)(**where)
        for name, values in scores.items():
            found.setdefault(name, []).append(np.asarray(values, dtype=np.float64))
    return {name: np.stack(values) for name, values in found.items()}


def area(unchanged: NDArray[np.float32], curves: list[list[float]]) -> NDArray[np.float64]:
    """Return the area under each curve. Quantus omits the first point, and its own areas need an older numpy."""
    area: NDArray[np.float64] = np.trapezoid(np.column_stack([unchanged, curves]), dx=1 / STEPS, axis=1)
    return area


# ---- measuring ----


def passes_of(side: str) -> Passes:
    how: Literal["auto", False] = False if side == "ours, plain" else "auto"
    return Passes(precision="bf16" if side.endswith("bf16") else "float32", channels_last=how, fold_batch_norm=how)


def child(side: str, name: str, folder: Path, threads: int) -> None:
    """Measure one side once, and print the result as one line of JSON."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    if side not in {"ours, plain", "peers"}:
        device.keep_freed_memory()
    classifier, part = network(name), Part()
    work: Callable[..., Values] = ours if side.startswith("ours") else peers
    if work is peers:  # its imports are not measured
        __import__("pytorch_grad_cam"), __import__("quantus")
    with ImageStore(folder / "images.h5") as images:
        # A function instead of the method, so that copies of the classifier count in the same place.
        classifier.register_forward_pre_hook(lambda module, inputs: part.count(module, inputs))  # noqa: PLW0108
        with part.of("all"):
            values = work(classifier, images, folder, passes_of(side), part)
    np.savez(folder / f"{name}-{side}.npz", **values)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": part.seconds, "images": part.images, "peak": peak}))


def measure(side: str, name: str, folder: Path, threads: int) -> dict[str, Any]:
    command = [
        sys.executable,
        __file__,
        "--child",
        side,
        "--networks",
        name,
        "--folder",
        str(folder),
        "--threads",
        str(threads),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def compare(name: str, folder: Path, sides: list[str]) -> None:
    """Print how far values differ between ours and the peers, and between our ways of computing.

    The CAMs are compared with the peers only if both sides define them alike: grad-cam centres Eigen-CAM and adds another
    epsilon to Grad-CAM++. Its drops in confidence are absolute, and random sets differ.
    """
    values = {side: np.load(folder / f"{name}-{side}.npz") for side in sides}
    alike = [row for row, cam in enumerate(CAMS) if cam not in {"gradcam_pp", "eigencam"}]
    for one, other in (("ours", "peers"), ("ours", "ours, plain"), ("ours, bf16", "ours")):
        if one not in values or other not in values:
            continue
        gaps, rows = [], alike if other == "peers" else slice(None)
        for metric in values[one].files:
            if other == "peers" and metric in {"average_drop", "faithfulness_correlation"}:
                continue
            a, b = values[one][metric][rows], values[other][metric][rows]
            order = [
                np.array_equal(*(np.argsort(p, kind="stable") for p in pair)) for pair in zip(a.T, b.T, strict=True)
            ]
            gaps.append(f"{metric} {np.nanmax(np.abs(a - b)):.1e} (same order of methods {np.mean(order):.0%})")
        print(f"  {one} against {other}, largest difference: {', '.join(gaps)}", flush=True)


def report(name: str, rounds: Mapping[str, list[dict[str, Any]]]) -> None:
    total = {side: [one["seconds"]["all"] for one in found] for side, found in rounds.items()}
    for side, found in rounds.items():
        parts = {key: statistics.median(one["seconds"][key] for one in found) for key in found[0]["seconds"]}
        text = ", ".join(f"{key} {seconds:.2f}" for key, seconds in parts.items() if key != "all")
        print(f"  {side:13} {parts['all']:7.1f} s ({text}); {found[0]['images']} images; "
              f"peak {statistics.median(one['peak'] for one in found):.0f} MB", flush=True)  # fmt: skip
    for other in ("peers", "peers, tuned", "ours, plain"):
        for one in ("ours", "ours, bf16"):
            if one in total and other in total:
                ratio = statistics.median(theirs / mine for theirs, mine in zip(total[other], total[one], strict=True))
                goal = GOALS.get(name) if (one, other) == ("ours", "peers") else None
                verdict = f" >= {goal:g} {'met' if ratio >= goal else 'missed'}" if goal else ""
                print(f"  {other} / {one}: {ratio:.2f}{verdict}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(GOALS))
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=SIDES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        return child(asked.child, asked.networks[0], asked.folder, asked.threads)
    with tempfile.TemporaryDirectory() as place:
        folder, (pixels, evidence) = Path(place), scans()
        with ImageWriter(folder / "images.h5", IDS, ("evidence",), (1, SIZE, SIZE), {}) as writer:
            for row in range(IMAGES):
                writer.put(row, pixels[row], {"evidence": evidence[row]})
            writer.describe(mean=0.5, std=0.25, digest="benchmark")
        for name in asked.networks:
            found: dict[str, list[dict[str, Any]]] = {side: [] for side in asked.sides}
            for number in range(asked.rounds):
                start = number % len(asked.sides)
                for side in asked.sides[start:] + asked.sides[:start]:
                    found[side].append(measure(side, name, folder, asked.threads))
            print(f"{name}, {IMAGES} images at {SIZE} px, {asked.threads} threads", flush=True)
            report(name, found)
            compare(name, folder, asked.sides)
    return None


if __name__ == "__main__":
    main()
