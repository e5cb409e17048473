"""The settings that the rules of results hand to their jobs: estimates, tables, figures and provenance.

They are made and read as those of `job_settings.py` are.
"""

from typing import Any

from pydantic import Field

from gradfaith.config.job_settings import JobSettings
from gradfaith.config.sections import StrictModel
from gradfaith.vocabulary import ControlPlacement, EvidenceKind


class PrimaryContrast(StrictModel):
    """The comparison that is named beforehand."""

    metric: str
    method: str
    against: str


class PrimaryVariant(PrimaryContrast):
    """The primary comparison, down to the variant of its metric."""

    variant: str


class IntervalSettings(JobSettings):
    """How estimates are made and named."""

    level: float = Field(description="coverage of the intervals")
    min_groups: int = Field(description="below so many no interval is printed")
    better: dict[str, str] = Field(description="metric -> higher, lower or neither")
    controls: list[str]


class RankSettings(StrictModel):
    """Which methods and images win rates are computed of."""

    rank_controls: ControlPlacement
    rank_only_correct: bool


class EstimateSettings(IntervalSettings, RankSettings):
    """How scores become estimates, contrasts and win rates."""

    primary: PrimaryVariant
    classes: list[str] = Field(description="in the order of the model's outputs")


class MetaSettings(IntervalSettings):
    """How metrics are judged."""

    truth: list[str] = Field(description="metrics that say how good a map is; the first is the primary one")
    against: str = Field(description="the metric that every other is compared with; empty: none")
    order_only: list[str] = Field(description="metrics that read only the order of a map's values")


class FigureSettings(JobSettings):
    """Which figure is drawn, and how."""

    use: str
    options: dict[str, Any]


class TableSettings(JobSettings):
    """Which table is written."""

    use: str


class StudyDescription(IntervalSettings):
    """What captions, axes and tables say of the study."""

    title: str
    classes: list[str]
    architectures: list[str]
    seeds: list[int]
    primary: PrimaryContrast
    ranks: RankSettings
    metrics: dict[str, str] = Field(description="label -> name of the plug-in")
    evidence: EvidenceKind
    notes: list[str] = Field(description="sentences that every table says of its models")

    def without_models(self) -> "StudyDescription":
        """Return what concerns the dataset alone."""
        none: dict[str, Any] = {
            "architectures": [],
            "seeds": [],
            "controls": [],
            "metrics": {},
            "better": {},
            "notes": [],
        }
        return self.model_copy(update=none | {"primary": PrimaryContrast(metric="", method="", against="")})


class ProvenanceSettings(JobSettings):
    """The study and its dataset's card with every default filled in, as they are written down."""

    study: dict[str, Any]
    dataset: dict[str, Any]
