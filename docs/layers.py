"""Probe one network of every timm module: which layers give maps, and why are others refused? Write docs/layers.md.

    python docs/layers.py             probe all networks again, with random weights; some minutes
    python docs/layers.py hiera pit   print the lines of these modules

It probes the default layer of each network and the layers that RefineCAM combines. The networks are small ones of their
module, some with fewer blocks. The images are as small as the network allows, with grids of at least 3 x 3 if possible.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gradfaith.attribution.probe import MIN_DEPENDS, examine_layer, measure_placement
from gradfaith.attribution.taps import tap_layers
from gradfaith.errors import LayerUnusable, ModelUnusable
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier, probe_images
from gradfaith.models.layers import default_layer, layer_stack, replace_zero_weights
from gradfaith.models.timm_import import timm

PAGE = Path(__file__).with_name("layers.md")
SIZES = (96, 128, 160, 192, 224, 240, 256)


@dataclass(frozen=True)
class Example:
    """A network of a module: its timm name, the size of its images if 96 is too small, and options that make it small."""

    timm: str
    size: int = 0  # 0: the smallest of SIZES that it takes
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LayerVerdict:
    """The result of the probe for one layer."""

    layer: str
    grid: tuple[int, int]
    fault: str  # "": accepted
    depends: float = 0.0
    agreement: float = 0.0

    @property
    def told(self) -> bool:
        """Tell whether the movement depends on the patch, so that the places could be compared."""
        return self.depends >= MIN_DEPENDS


@dataclass(frozen=True)
class NetworkVerdict:
    """The results of the probe for a network: its default layer first, then the other layers that RefineCAM combines."""

    size: int
    layers: Sequence[LayerVerdict]
    fault: str = ""  # why there is no default layer or no stack


FOUR = {"depth": 4}
EXAMPLES: Mapping[str, Example] = {
    "beit": Example("beit_base_patch16_224", options=FOUR),
    "byoanet": Example("halonet26t"),
    "byobnet": Example("test_byobnet"),
    "cait": Example("cait_xxs24_224"),
    "coat": Example("coat_tiny"),
    "convit": Example("convit_tiny"),
    "convmixer": Example("convmixer_768_32"),
    "convnext": Example("convnext_atto"),
    "cpubone": Example("cpubone_nano", 192),
    "crossvit": Example("crossvit_tiny_240"),
    "csatv2": Example("csatv2", 256),
    "cspnet": Example("cs3darknet_focus_s"),
    "cspnext": Example("cspnext_tiny", 192),
    "davit": Example("davit_tiny"),
    "deepseek_vit": Example("deepseek_vit_412m", options={"depth": 2}),
    "deit": Example("deit_tiny_distilled_patch16_224"),
    "densenet": Example("densenet121"),
    "dla": Example("dla46_c"),
    "dpn": Example("dpn48b"),
    "edgenext": Example("edgenext_xx_small"),
    "efficientformer": Example("efficientformer_l1"),
    "efficientformer_v2": Example("efficientformerv2_s0"),
    "efficientnet": Example("efficientnet_b0"),
    "efficientvim": Example("efficientvim_m1"),
    "efficientvit_mit": Example("efficientvit_b0"),
    "efficientvit_msra": Example("efficientvit_m0"),
    "eva": Example("vit_tiny_patch16_dinov3_qkvb"),
    "fasternet": Example("fasternet_t0"),
    "fastvit": Example("fastvit_t8"),
    "focalnet": Example("focalnet_tiny_srf"),
    "gcvit": Example("gcvit_xxtiny"),
    "gemma4_vit": Example("gemma4_vit_167m", options={"depth": 2}),
    "ghostnet": Example("ghostnet_050"),
    "hardcorenas": Example("hardcorenas_a"),
    "hgnet": Example("hgnetv2_b0"),
    "hiera": Example("hiera_tiny_224"),
    "hieradet_sam2": Example("hieradet_small"),
    "hrnet": Example("hrnet_w18_small"),
    "iformer": Example("iformer_t"),
    "inception_next": Example("inception_next_atto"),
    "inception_resnet_v2": Example("inception_resnet_v2", 160),
    "inception_v3": Example("inception_v3", 160),
    "inception_v4": Example("inception_v4", 160),
    "lcnetv2": Example("lcnetv2_small", 192),
    "levit": Example("levit_128s", 224),
    "lowformer": Example("lowformer_b0"),
    "mambaout": Example("mambaout_femto"),
    "maxxvit": Example("maxvit_pico_rw_256"),
    "metaformer": Example("poolformer_s12"),
    "mlp_mixer": Example("gmlp_ti16_224"),
    "mobilenetv3": Example("mobilenetv3_small_050"),
    "mobilenetv5": Example("mobilenetv5_base"),
    "mobilevit": Example("mobilevit_xxs"),
    "mvitv2": Example("mvitv2_tiny"),
    "naflexvit": Example("naflexvit_base_patch16_gap", options=FOUR),
    "nasnet": Example("nasnetalarge"),
    "nest": Example("nest_tiny"),
    "nextvit": Example("nextvit_small"),
    "nfnet": Example("nf_resnet26"),
    "pit": Example("pit_ti_224"),
    "pnasnet": Example("pnasnet5large"),
    "pvt_v2": Example("pvt_v2_b0"),
    "qwen3_vit": Example("qwen3_vit_88m", options=FOUR),
    "rdnet": Example("rdnet_tiny"),
    "regnet": Example("regnetx_002"),
    "repghost": Example("repghostnet_050"),
    "repvit": Example("repvit_m0_9"),
    "res2net": Example("res2net50_48w_2s"),
    "resnest": Example("resnest14d"),
    "resnet": Example("resnet18"),
    "resnetv2": Example("resnetv2_18"),
    "rexnet": Example("rexnet_100"),
    "selecsls": Example("selecsls42"),
    "senet": Example("legacy_seresnet18"),
    "sequencer": Example("sequencer2d_s"),
    "shvit": Example("shvit_s1"),
    "sknet": Example("skresnet18"),
    "starnet": Example("starnet_s050"),
    "swiftformer": Example("swiftformer_xs"),
    "swin_transformer": Example("swin_tiny_patch4_window7_224"),
    "swin_transformer_v2": Example("swinv2_tiny_window8_256"),
    "swin_transformer_v2_cr": Example("swinv2_cr_tiny_224"),
    "tiny_vit": Example("tiny_vit_5m_224"),
    "tnt": Example("tnt_s_patch16_224", options=FOUR),
    "tresnet": Example("tresnet_m"),
    "twins": Example("twins_svt_small"),
    "vgg": Example("vgg11", options={"mlp_ratio": 0.01}),
    "visformer": Example("visformer_tiny"),
    "vision_transformer": Example("vit_tiny_patch16_224"),
    "vision_transformer_hybrid": Example("vit_tiny_r_s16_p8_224"),
    "vision_transformer_relpos": Example("vit_relpos_small_patch16_224"),
    "vision_transformer_sam": Example("samvit_base_patch16_224", options=FOUR),
    "vitamin": Example("vitamin_small_224"),
    "volo": Example("volo_d1_224"),
    "vovnet": Example("ese_vovnet19b_slim_dw"),
    "xception": Example("legacy_xception"),
    "xception_aligned": Example("xception41"),
    "xcit": Example("xcit_nano_12_p16_224"),
}


def build_example(module: str) -> Classifier:
    """Build the example of a module with random weights."""
    example = EXAMPLES[module]
    native = timm.get_pretrained_cfg(example.timm).input_size[-1]
    problem: ModelUnusable | None = None
    for size in [example.size] if example.size else sorted({*(size for size in SIZES if size < native), native}):
        try:
            spec = ClassifierSpec(example.timm, 3, 3, 3, size, 0.5, 0.25, dict(example.options))
            classifier = build_classifier(spec, seed=1).eval()
            with torch.no_grad():
                classifier(probe_images(classifier)[:1])
            return classifier
        except ModelUnusable as error:
            problem = error
        except (AssertionError, RuntimeError, ValueError):
            continue
    raise problem or RuntimeError(f"{example.timm} takes no image of at most {native} pixels")


def layers_of(classifier: Classifier) -> tuple[list[str], str]:
    """Return the default layer and the others of RefineCAM's stack, and why there are none."""
    layers: list[str] = []
    try:
        layers.append(default_layer(classifier.net))
        layers += layer_stack(classifier.net)[:-1]
    except LayerUnusable as error:
        return layers, error.problem
    return layers, ""


def examine_example(module: str) -> NetworkVerdict:
    """Probe the layers of one network."""
    classifier = build_example(module)
    layers, fault = layers_of(classifier)
    with replace_zero_weights(classifier):
        verdicts = [_examine(classifier, layer) for layer in layers]
    return NetworkVerdict(classifier.spec.size, verdicts, fault)


def _examine(classifier: Classifier, layer: str) -> LayerVerdict:
    grid, fault = examine_layer(classifier, layer, 2)
    if fault:
        return LayerVerdict(layer, grid, fault)
    with tap_layers(classifier, layer) as tap:
        found = measure_placement(tap, probe_images(classifier)[:1])
    return LayerVerdict(layer, grid, "", found.depends, found.agreement)


# the page
def line(module: str, verdict: NetworkVerdict) -> str:
    """Return the row of one network."""
    example = EXAMPLES[module]
    short = ", ".join(f"{key}: {value}" for key, value in example.options.items())
    name = f"{example.timm}{f' ({short})' if short else ''}"
    cells = [_cell(one) for one in verdict.layers]
    stack = "<br>".join(cells[1:]) or verdict.fault or "-"
    return f"| {module} | {name} | {verdict.size} | {cells[0] if cells else verdict.fault} | {stack} |"


def _cell(one: LayerVerdict) -> str:
    if one.fault:
        return f"`{one.layer}` **refused**: {one.fault}"
    place = f"{one.agreement:.2f}" if one.told else "unclear"
    return f"`{one.layer}` {one.grid[0]} x {one.grid[1]}, {place}"


def page(found: Mapping[str, NetworkVerdict]) -> str:
    """Return the text of layers.md."""
    layers = [one for verdict in found.values() for one in verdict.layers]
    counts = Counter("refused" if one.fault else "right" if one.told else "unclear" for one in layers)
    first = Counter(
        "none" if not verdict.layers else "refused" if verdict.layers[0].fault else "accepted"
        for verdict in found.values()
    )
    return HEAD.format(
        networks=len(found), layers=len(layers), right=counts["right"], alike=counts["unclear"],
        refused=counts["refused"], default=first["accepted"], default_refused=first["refused"], none=first["none"],
    ) + "".join(line(module, verdict) + "\n" for module, verdict in found.items())  # fmt: skip


HEAD = """# Which layers give maps

`python docs/layers.py` writes this page. It has one network of each of the {networks} modules of timm that
define networks, with random weights. A CAM method needs a layer whose output is a
grid of cells that lie over the image. A test, called the probe (`workflow/gradfaith/attribution/probe.py`),
examines the default layer of each network and the other layers that RefineCAM combines. It refuses a layer if

- its output has no grid,
- the class score does not depend on every cell, or
- a cell does not belong to the part of the image at its own place. To find this, the probe changes a patch of
  the image and compares where the patch lies with where cells change.

The number in the table says how well the two places agree on one image; 1 is best. The probe measures a layer
below 0.5 again on four images, and refuses the layer if its cells do not change most for the patches nearest
to them. In a layer that is "unclear", all cells change nearly alike with these random weights, so the probe
cannot find where a cell belongs. It accepts such a layer. `tests/unit/attribution/test_every_module.py` tests
the layers a second time, by the gradient of each cell with respect to the image.

Of {layers} layers {right} pass the probe, {alike} are unclear and {refused} are refused. The probe accepts the
default layer of {default} networks and refuses that of {default_refused}. Networks without a default layer: {none}.
If a layer is refused and one near it works, the error names that layer. Set it with the architecture's
key `layer:` in the study.

| module | network | image | default layer | other layers of RefineCAM |
|---|---|---|---|---|
"""


def examine_all(modules: Sequence[str]) -> Iterator[tuple[str, NetworkVerdict]]:
    """Yield the verdict of one module after the other, and print its row."""
    for module in modules:
        verdict = examine_example(module)
        print(line(module, verdict), flush=True)
        yield module, verdict


if __name__ == "__main__":
    if sys.argv[1:]:
        dict(examine_all(sys.argv[1:]))
    else:
        PAGE.write_text(page(dict(examine_all(list(EXAMPLES)))), encoding="utf-8")
