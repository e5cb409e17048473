"""Define the numbers that a claim asks for, by the labels of a study, and the tables that they are computed from.

A claim has one test per number. A test's terms are means with weights: a method minus a control, an architecture minus the
mean of others. stats/claim_numbers.py computes the numbers, stats/claims.py decides the claim.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gradfaith.stats.interval_scales import UNBOUNDED, Bounds, IntervalRule


@dataclass(frozen=True)
class ClaimTerm:
    """One mean in a number, with its weight."""

    weight: float
    arch: str
    method: str = ""
    variant: str = ""  # of the metric; "": that of the test


EACH = "each"  # of a test's variants: every variant is a case


@dataclass(frozen=True)
class ClaimTest:
    """One number of a claim, by the labels of a study; config/result_settings.py describes the fields."""

    case: str
    condition: str
    quantity: str
    metric: str
    variant: str
    terms: Sequence[ClaimTerm]
    margin: float
    side: str = "above"
    rivals: Sequence[str] = ()
    against_metric: str = ""
    truth: str = ""
    by_class: bool = False
    images: str = "all"
    precondition: bool = False

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "ClaimTest":
        """Return a test from plain values."""
        return cls(**{**plain, "terms": [ClaimTerm(**term) for term in plain["terms"]]})


@dataclass(frozen=True)
class ClaimData:
    """What numbers are computed from.

    `scores` returns the rows of some metrics, of test images. `predictions` have the columns arch, seed and part, and for
    slopes calibrated_<class>.
    """

    scores: Callable[[Sequence[str]], pd.DataFrame]
    predictions: pd.DataFrame
    classification: pd.DataFrame
    better: Mapping[str, str]
    controls: Sequence[str]
    rule: IntervalRule
    several: Collection[str] = ()  # images with several objects

    def answers(self, arch: str) -> pd.DataFrame:
        """Return the predictions of an architecture on test images."""
        return self.predictions[(self.predictions["arch"] == arch) & (self.predictions["part"] == "test")]

    def bounds(self, metric: str) -> Bounds:
        """Return the range of a metric."""
        return self.rule.bounds.get(metric, UNBOUNDED)
