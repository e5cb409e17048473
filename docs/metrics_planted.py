"""Test every metric on planted truth: is the true map better than every control? Write docs/metrics-planted.md.

    python docs/metrics_planted.py

planted.py has the images, their models, the true maps and the controls; planted_scores.py computes the metrics. Every
metric of the package is tested with its default options. A new metric appears with the first sentence of its own file
until CASES has an entry for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import planted
from planted_scores import FAMILIES, FIRST, GAIN, Key, Name, scores, why_not

from gradfaith import registry
from gradfaith.reporting.escaping import markdown

PAGE = Path(__file__).with_name("metrics-planted.md")
LEVEL = 0.02  # share of what the worst control loses; a control nearer to the true map than this is as good
SAME = 1e-6  # a smaller change is rounding
COVERS = "Every map that covers the window scores perfectly, however much else it covers."
ORDER = "An order is right only if the window comes first; a map of the image's edges also puts the decoys first."
MARKED = "A recall: a map that marks everything contains the window."
LOOKS = "A control that ignores the model repeats itself exactly: the metric does not measure where a map points."
HARMONIC = "One bad part lowers the score: broad maps are not sparse, sparse maps elsewhere lose the class, and repetition alone does not help."
MATCH = "It compares with the window at its own size, so a broad map scores low."
CASES = {
    "average_drop": COVERS,
    "average_drop_pgc": COVERS,
    "complexity": "It uses the map alone and not the model: the same map elsewhere has the same value.",
    "deletion": ORDER,
    "faith": "Every map that covers the window removes the class; only the gain over shuffled copies measures where a map points.",
    "faith_logit": "As Faith, in logits.",
    GAIN: "A map that covers everything gains nothing over its shuffled copies.",
    "faithfulness_correlation": "Sets of pixels matter as far as they contain the window, and only the true map gives this share.",
    "increase_in_confidence": "The model is equally certain of the complete image and of the window alone, so no map scores.",
    "infidelity": "As faithfulness_correlation, at the best scale of each map.",
    "insertion": ORDER,
    "insertion_minus_deletion": ORDER,
    "road": ORDER,
    "road_pgc": "Right here, where a blank image has no class; its thresholds remove all tied pixels at once, so it can score blank images.",
    "average_precision": MATCH,
    "cosine": MATCH,
    "f1": MATCH,
    "iou": MATCH,
    "iou_area_matched": MATCH,
    "locacc": MARKED,
    "locacc_literature": MARKED,
    "recall": "A recall, except for the area-matched threshold: a map that marks everything contains the window.",
    "precision": "The share of the marked pixels that is window; it does not measure how much of the window is marked.",
    "pointing_game": "One pixel per map: by chance it is right in proportion to the size of the window.",
    "roc_auc": "Most of the image is neither window nor decoy and easy to rank low, so the edges control scores high.",
    "saliency_gain": MATCH,
    "saliency_score": MATCH,
    "tko_literature": MATCH,
    "topk_gain": MATCH,
    "topk_overlap": MATCH,
    "coherency": LOOKS,
    "coherency_literature": LOOKS,
    "max_sensitivity": "A control that ignores the model never changes; a true map changes with the input of its model.",
    "randomisation_sensitivity": "A shuffled map changes with the weights as the true one does: the metric does not measure where a map points.",
    "adcc": HARMONIC,
    "adcc_literature": HARMONIC,
    "arcc": HARMONIC,
    "arcc_literature": HARMONIC,
    "region_correctness": "Of the window and five decoys only the window changes the class, and only the true map ranks it first.",
    "spearman": "As Consist, for the order: a control that ignores the model always has the same order.",
    "consist": "Two models that use the same window have the same map; so has a control that ignores the model.",
}
HEAD = """# Metrics tested on planted truth

`python docs/metrics_planted.py` writes this page, and a test compares the page with a new run of the script.
The script tests every metric on 24 images where it is known what the model uses: one window of 8 x 8 pixels
in an image of 32 x 32, and nothing else. The window contains a chequered pattern. Seven other windows, the
decoys, contain the same pattern, so a map that only redraws the image marks eight places, and only one is
right. The mean of the pattern is zero: whatever replaces the window (black, a mean, a blur, its neighbours)
removes the class. `docs/planted.py` has the complete definition.

The true map is 1 in the window and 0 elsewhere. Each metric's mean over the images is compared between the
true map, every control and shuffled copies of the true map, under every imputer (what replaces removed
pixels). The numbers in the table are for the imputer, or the variant of the metric, in brackets.

- *Fooled by* lists the controls whose value is as good as that of the true map, or better. A difference of at
  most 2 % of the worst control's difference counts as equal. "(1 of 5)" means: under one of five imputers or
  variants.
- `lungs` is here an organ that covers nine to thirteen of the sixteen possible windows, among them the window
  and all decoys. So it contains what the model uses, as a real organ contains a lesion.
- *Values only*: the values of a map without zeros are transformed (root, square, fifth power), so that their
  order stays. The column has the largest change of the metric, or "none" if it uses only the order. A metric
  that runs the method again is not tested in this way, because no method makes transformed maps.

Some metrics need a new map: of a changed image, or of a model with random weights. No method makes the true
map, so its new map is defined here: at each pixel, the part of the pattern that the model still finds in the
window of the changed image. For random weights it is the same in the window of a decoy. Controls are computed
again. The new map of a shuffled copy is the new true map, shuffled in the same way.

A metric can be undefined for a map. Such a map is left out of the mean, and a control is compared with the
true map on the images where the metric is defined for both. "No number: lungs (24)" in the table means that
the metric is undefined for 24 maps of `lungs`.

| metric | better | true map | best control | fooled by | values only | the case |
|---|---|---|---|---|---|---|"""


@dataclass(frozen=True)
class Verdict:
    """One metric in one variant: its mean over the images, for the true map and every control."""

    levels: Mapping[str, float]  # NaN: no number on any image
    gains: Mapping[
        str, float
    ]  # control -> its number minus the true map's, higher being better, on images where both have one
    better: str
    lost: Mapping[str, int]  # maps -> images without a number
    bend: float  # the largest change of a dense map's number when its values change and their order does not; NaN: not tested

    @property
    def ahead(self) -> dict[str, float]:
        """Return by how much each control with a number is better than the true map, the best control first."""
        finite = ((name, gain) for name, gain in self.gains.items() if np.isfinite(gain))
        return dict(sorted(finite, key=lambda pair: -pair[1]))

    @property
    def rival(self) -> str:
        """Return the best control."""
        return next(iter(self.ahead))

    @property
    def fooled_by(self) -> list[str]:
        """Return the controls that are as good as the true map or better."""
        span = max(0.0, -min(self.ahead.values()))
        return [name for name, gain in self.ahead.items() if gain >= -LEVEL * span - 1e-9]


def verdicts() -> dict[Name, Verdict]:
    """Return the verdict of every metric that can be tested here and has a better end."""
    images = [scores(image) for image in planted.images()]
    return {name: _verdict(name, [found[name] for found in images]) for name in images[0]}


def _verdict(name: Name, images: list[dict[Key, float]]) -> Verdict:
    better = "higher" if name[1] == GAIN else registry.load(*name[:2]).METRIC.better
    sign = {"higher": 1, "lower": -1}[better]
    values: dict[str, list[float]] = {}
    gains: dict[str, list[float]] = {}
    for found in images:
        for (of_map, _), value in found.items():
            values.setdefault(of_map, []).append(value)
            gains.setdefault(of_map, []).append(sign * (value - found[planted.TRUE, 0]))
    bends = [np.abs(np.array(values[bend]) - values["dense"]).max() for bend in planted.BENDS if bend in values]
    compared = [of_map for of_map in values if of_map not in {"dense", *planted.BENDS}]
    levels = {of_map: _mean(values[of_map]) for of_map in compared}
    ahead = {of_map: _mean(gains[of_map]) for of_map in compared if of_map != planted.TRUE}
    lost = {of_map: int((~np.isfinite(values[of_map])).sum()) for of_map in compared}
    return Verdict(levels, ahead, better, lost, float(max(bends, default=np.nan)))


def _mean(numbers: list[float]) -> float:
    kept = [number for number in numbers if np.isfinite(number)]
    return float(np.mean(kept)) if kept else np.nan


# the page
def page(found: Mapping[Name, Verdict]) -> str:
    """Return the text of metrics-planted.md."""
    lines = [
        HEAD,
        *(_line(*pair, found) for pair in dict.fromkeys(name[:2] for name in found)),
        "",
        "Not tested here:",
        "",
    ]
    for family in FAMILIES:
        left = {name: why_not(family, registry.load(family, name)) for name in registry.names(family)}
        lines += [f"- `{name}`: {why}." for name, why in left.items() if why]
    return "\n".join(lines) + "\n"


def _line(family: str, metric: str, found: Mapping[Name, Verdict]) -> str:
    """Return the row of a metric: the numbers of its first variant, and what fools it in any variant."""
    own = {name[2]: verdict for name, verdict in found.items() if name[:2] == (family, metric)}
    battery = "masking" if metric == GAIN else registry.load(family, metric).METRIC.battery
    shown = FIRST[battery] if FIRST[battery] in own else next(iter(own))
    first, fooled = own[shown], {name for verdict in own.values() for name in verdict.fooled_by}
    counts = {
        name: sum(name in verdict.fooled_by for verdict in own.values()) for name in first.levels if name in fooled
    }
    by = ", ".join(name + (f" ({count} of {len(own)})" if count < len(own) else "") for name, count in counts.items())
    lost = [f"{name} ({count})" for name, count in first.lost.items() if count]
    by = "; no number: ".join([by or "**none**", ", ".join(lost)]) if lost else by or "**none**"
    case = CASES.get(metric) or markdown(registry.entry(family, metric).summary)
    bends = "-" if np.isnan(first.bend) else "none" if first.bend < SAME else f"{first.bend:.2f}"
    numbers = f"{first.levels[planted.TRUE]:.2f} | {first.levels[first.rival]:.2f} ({first.rival})"
    return f"| {metric}{f' ({shown})' if shown else ''} | {first.better} | {numbers} | {by} | {bends} | {case} |"


if __name__ == "__main__":
    PAGE.write_text(page(verdicts()), encoding="utf-8")
