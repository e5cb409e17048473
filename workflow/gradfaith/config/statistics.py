"""The `statistics` section of a study: how scores become estimates, win rates and decided claims."""

from typing import Annotated

from pydantic import Field

from gradfaith.config.sections import Label, Share, StrictModel
from gradfaith.vocabulary import LEVEL, MIN_GROUPS, ControlPlacement, SeedVariance


class Statistics(StrictModel):
    """How scores become estimates."""

    level: float = Field(LEVEL, gt=0.5, lt=1, description="coverage of the intervals")
    min_groups: int = Field(MIN_GROUPS, ge=2, le=1_000_000, description="smallest number of groups for an interval")
    seed_variance: SeedVariance = Field(
        "own",
        description="estimates and contrasts: the variance between seeds of each architecture alone, or `pooled` over architectures, "
        "which gives intervals for new trainings with two seeds, too",
    )
    equivalence_margin: dict[Label, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="metric -> largest difference that counts as none, for tests of equivalence"
    )
    rank_controls: ControlPlacement = Field(
        "beside", description="win rates. `beside`: one control at a time with the methods; `among`: all together"
    )
    rank_only_correct: bool = Field(False, description="win rates: only images that the model classifies correctly")
    claims_min_accuracy: Share = Field(
        0.0, description="claims are not tested on an architecture with a lower balanced accuracy; 0: on all"
    )
