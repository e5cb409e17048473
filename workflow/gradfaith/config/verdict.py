"""The `verdict` section of a study: the margin of each gate, named before the results are seen.

The gates and the rules that decide them are in stats/verdict.py. docs/verdict.md says why the defaults are what they are.
"""

from pydantic import Field

from gradfaith.config.sections import Label, Share, StrictModel


class Verdict(StrictModel):
    """The margins of the gates."""

    balanced_accuracy: Share | None = Field(
        None, description="the balanced accuracy is at least this; empty: halfway between chance and 1"
    )
    localization: float = Field(
        0.0, description="the localization metric exceeds that of every control by more than this"
    )
    faith_gain: float = Field(
        0.05, description="Faith exceeds that of the shuffled map by more than this, with every imputer"
    )
    randomisation: float = Field(
        0.3, ge=-1, le=1, description="the rank agreement with the map of random weights is below this"
    )
    consistency: float = Field(
        0.0, description="the agreement between seeds exceeds its chance level by more than this, in every class"
    )
    shortcut_lift: float = Field(1.25, gt=0, description="the lift of a known shortcut is below this; 1 is chance")
    missing_maps: Share = Field(0.05, description="the share of maps without a value is at most this")
    localization_metric: Label | None = Field(
        None,
        description="the metric of gate `localization`; empty: the primary metric, if it measures localization, "
        "else iou_area_matched, saliency_score, or the first metric of `localization`",
    )


GATES = (
    "balanced_accuracy", "localization", "faith_gain", "randomisation", "consistency", "shortcut_lift", "missing_maps",
)  # fmt: skip
MIN_SEEDS = 3  # fewest seeds of gate `consistency`: two seeds are one pair
