"""Statistics of scores that are in memory at once, as one part."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gradfaith.stats.comparisons import Comparisons
from gradfaith.stats.contrasts import NamedContrast, estimate_contrasts
from gradfaith.stats.image_scores import scores_by_image
from gradfaith.stats.interval_scales import DEFAULT_RULE, IntervalRule
from gradfaith.stats.meta_evaluation import controls_that_fool
from gradfaith.stats.rank_agreement import rank_agreement_with_truth


def contrasts_of(
    scores: pd.DataFrame,
    controls: Sequence[str],
    better: Mapping[str, str],
    primary: Mapping[str, Any] | None = None,
    rule: IntervalRule = DEFAULT_RULE,
    **how: Any,
) -> pd.DataFrame:
    """Return the contrasts of all methods; a `primary` without a variant has the empty one."""
    named = NamedContrast(**{"variant": "", **primary}) if primary else None
    asked = Comparisons(list(scores["method"].unique()), controls, better, **how)
    return estimate_contrasts([scores], asked, named, rule)


def agreement_of(
    scores: pd.DataFrame, truths: Sequence[str], better: Mapping[str, str], controls: Sequence[str], **how: Any
) -> pd.DataFrame:
    """Return how far metrics rank methods as the truths do."""
    return rank_agreement_with_truth(scores_by_image([scores], better), truths, controls, **how)


def fooled_by(scores: pd.DataFrame, better: Mapping[str, str], controls: Sequence[str], **how: Any) -> pd.DataFrame:
    """Return how controls score on every metric."""
    return controls_that_fool(scores_by_image([scores], better), controls, **how)
