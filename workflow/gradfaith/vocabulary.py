"""Words that several rooms share: parts, kinds of grid, of evidence and of class score, statuses, fixed names, modules.

Each is defined here once, so that a configuration, a metric and a store cannot mean different things by one word.
"""

from typing import Literal, get_args

Part = Literal["train", "val", "test"]  # of a split
Grid = Literal["native", "input"]  # of a map: the layer's own grid, or the image's pixels
Evidence = Literal["mask", "box", "point", "parts"]  # where the truth lies in an image
EvidenceKind = Literal[Evidence, "none"]
Score = Literal["logit", "log_odds", "margin"]  # what of the class's answer a map explains
Fit = Literal["pad", "crop"]  # how an image of another aspect becomes square
CascadeOrder = Literal["top_down", "bottom_up"]  # in which weights are replaced: from the head, or from the image
Device = Literal["auto", "cpu", "cuda", "mps"]
ControlPlacement = Literal["beside", "among"]  # controls compete one by one, or among the methods
Reading = Literal["positive", "absolute"]  # what metrics and figures read of a signed map

PARTS: tuple[str, ...] = get_args(Part)
SCORES: tuple[Score, ...] = get_args(Score)
EXTENDED: tuple[Evidence, ...] = ("mask", "box", "parts")  # evidence with an extent
STATUSES = ("ok", "undefined", "degenerate", "failed")  # of a score
NOT_OK = STATUSES[1:]  # of scores that have no value, from mild to bad
LEVEL, MIN_GROUPS = (
    0.95,
    8,
)  # of intervals: nominal coverage, and the groups below which there is none; defaults of a study
SHUFFLED = "shuffled-"  # before the label of a method: its map with the cells permuted
CONSTANT_RANGE = 1e-6  # a map whose range is at most this share of its largest absolute value is constant
RANDOMISATION = (
    "randomisation"  # the metric of the sanity check: agreement with the maps of a randomised model; lower is better
)
# A class of characters for patterns: line breaks and other controls, and what hides or turns the order of others.
HIDDEN_CHARACTERS = r"\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff"
ALL_CLASSES = "macro"  # in place of a class: the average over all of them
SEED_PAIRS, REFERENCE = (
    "pairs",
    "reference",
)  # variants of agreement: every pair of seeds, the first seed with each other
BETWEEN_IMAGES, BY_AREA = "between-images", "by-area"  # variants that are the score by chance, not one of a method
CHANCE_VARIANTS = (BETWEEN_IMAGES, BY_AREA)
RERUN_BATTERY = "rerun"  # the kind of battery whose metrics run the methods again
# What a method may need, and the module that only such methods load: maps of other methods do not depend on its code.
NEED_MODULES = {"attention": "attribution.attention", "head": "attribution.head"}
