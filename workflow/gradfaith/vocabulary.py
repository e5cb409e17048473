"""Define the terms that several rooms share: parts, grids, evidence, class scores, statuses, fixed names.

Each term has one definition, so a configuration, a metric and a store mean the same by it.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Part = Literal["train", "val", "test"]  # of a split
Grid = Literal["native", "input"]  # of a map: the layer's own grid, or the image's pixels
Evidence = Literal["mask", "box", "point", "parts"]  # the kind of ground truth in an image
EvidenceKind = Literal[Evidence, "none"]
Score = Literal["logit", "log_odds", "margin", "probability"]  # the output of the class that a map explains
Head = Literal["softmax", "sigmoid", "probabilities"]  # what the outputs of a network are (models/heads.py)
Fit = Literal["pad", "crop"]  # how an image that is not square becomes square
CascadeOrder = Literal["top_down", "bottom_up"]  # of replacing weights: from the head or from the input
Device = Literal["auto", "cpu", "cuda", "mps"]
ControlPlacement = Literal[
    "beside", "among"
]  # in the meta-evaluation: controls compete one by one, or among the methods
SeedVariance = Literal["own", "pooled"]  # of an architecture alone, or pooled over all of them
Reading = Literal["positive", "absolute"]  # the part of a signed map that metrics and figures read

Task = Literal["classification", "regression"]  # of a table

PARTS: tuple[str, ...] = get_args(Part)
TableImputer = Literal["mean", "marginal", "conditional"]  # how features are removed
TableScale = Literal["logit", "probability"]  # of the score of a class
TABLE = "table"  # the key of a study that explains a table instead of images
BINARY = ("negative", "positive")  # classes of a table: is it the value that is explained?
QUARTERS = ("lowest quarter", "second quarter", "third quarter", "highest quarter")  # classes of a regression's target
SCORES: tuple[Score, ...] = get_args(Score)
EXTENDED: tuple[Evidence, ...] = ("mask", "box", "parts")  # evidence with an extent
STATUSES = ("ok", "undefined", "degenerate", "failed")  # of a score
LESION_SIZES = ("small", "medium", "large")  # of lesions, and of the objects of other datasets
NOT_OK = STATUSES[1:]  # of scores that have no value, in order of severity
LEVEL, MIN_GROUPS = (
    0.95,
    8,
)  # of intervals: nominal coverage, and the minimum number of groups; defaults of a study
CONTRAST_ROLES = ("contrast-1", "contrast-2")  # of maps: two classes that are neither the predicted nor the true one
FIRST_SURROUNDING = 64  # parts from this number on are things around the object: they are no evidence
SHUFFLED = "shuffled-"  # before the label of a method: its map with the cells permuted
CONSTANT_RANGE = 1e-6  # a map whose range is at most this share of its largest absolute value is constant
RANDOMISATION = (
    "randomisation"  # the metric of the sanity check: agreement with the maps of a randomised model; lower is better
)
# For patterns, a class of characters: line breaks, other control characters, and marks that hide or reorder text.
HIDDEN_CHARACTERS = r"\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff"
ALL_CLASSES = "macro"  # in place of a class: the average over all of them
SEED_PAIRS, REFERENCE = (
    "pairs",
    "reference",
)  # variants of agreement: every pair of seeds, the first seed with each other
BETWEEN_IMAGES, BY_AREA = "between-images", "by-area"  # variants that are chance levels, not scores of a method
CHANCE_VARIANTS = (BETWEEN_IMAGES, BY_AREA)
# Of contrasts: a method with a control, another method, its base, the same method on another architecture or with another
# imputer, agreement with its chance level (stats/comparisons.py), and test with training images (stats/part_differences.py).
CompareWith = Literal["control", "method", "base", "architecture", "imputer", "chance", "part"]
COMPARISONS: tuple[CompareWith, ...] = get_args(CompareWith)
CONTROL_COMPARISON: CompareWith = "control"
COMMON_GRID = (
    "common-grid"  # the variant of localization whose maps were averaged to the coarsest grid of all architectures
)
# Of a gate or a claim: the interval holds the margin; the study lacks what is needed.
UNDECIDED: Literal["undecided"] = "undecided"
NOT_TESTABLE: Literal["not testable"] = "not testable"
RERUN_BATTERY = "rerun"  # the kind of battery whose metrics run the methods again
# Needs of methods -> the module that only methods with this need load, so other maps do not depend on its code.
NEED_MODULES = {"attention": "attribution.attention", "head": "attribution.head"}


@dataclass(frozen=True)
class LesionProperties:
    """What a dataset states of one lesion, in its own words; the diameter in millimetres."""

    kind: str
    diameter_mm: float
    density: str
    outline: str
    calcification: str
    contact: str


ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz")  # in lower case
