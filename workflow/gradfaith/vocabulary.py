"""Words that several rooms share: kinds of grid, of evidence and of class score, fixed names, modules loaded by name.

Each is defined here once, so that a configuration, a metric and a store cannot mean different things by one word.
"""

from typing import Literal

Grid = Literal["native", "input"]  # of a map: the layer's own grid, or the image's pixels
Evidence = Literal["mask", "box", "point", "parts"]  # where the truth lies in an image
Score = Literal["logit", "log_odds", "margin"]  # what of the class's answer a map explains

EXTENDED: tuple[Evidence, ...] = ("mask", "box", "parts")  # evidence with an extent
SHUFFLED = "shuffled-"  # before the label of a method: its map with the cells permuted
CONSTANT_RANGE = 1e-6  # a map whose range is at most this share of its largest absolute value is constant
RANDOMISATION = (
    "randomisation"  # the metric of the sanity check: agreement with the maps of a randomised model; lower is better
)
RERUN_BATTERY = "rerun"  # the kind of battery whose metrics run the methods again
# What a method may need, and the module that only such methods load: maps of other methods do not depend on its code.
NEED_MODULES = {"attention": "attribution.attention", "head": "attribution.head"}
