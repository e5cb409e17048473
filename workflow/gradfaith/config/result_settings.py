"""Define the settings that the rules of results pass to their jobs: estimates, tables, figures and provenance.

They are written and read as in `job_settings.py`.
"""

from typing import Any

from pydantic import Field

from gradfaith.config.claims import Images, Over, Quantity, Side
from gradfaith.config.job_settings import JobSettings
from gradfaith.config.sections import StrictModel
from gradfaith.vocabulary import ControlPlacement, EvidenceKind, SeedVariance


class PrimaryContrast(StrictModel):
    """The comparison that is fixed in advance."""

    metric: str
    method: str
    against: str


class PrimaryVariant(PrimaryContrast):
    """The primary comparison, down to the variant of its metric."""

    variant: str
    architectures: int = Field(description="how many it is tested on")


class IntervalSettings(JobSettings):
    """The settings of estimates and their names."""

    level: float = Field(description="coverage of the intervals")
    min_groups: int = Field(description="with fewer groups, no interval is printed")
    better: dict[str, str] = Field(description="metric -> higher, lower or neither")
    controls: list[str]
    bounds: dict[str, tuple[float | None, float | None]] = Field(description="metric -> its range; none: unbounded")


class RankSettings(StrictModel):
    """The methods and images for which win rates are computed."""

    rank_controls: ControlPlacement
    rank_only_correct: bool


class ComparisonSettings(StrictModel):
    """What contrasts compare, beside methods with controls."""

    bases: dict[str, str] = Field(description="refined method -> the method that it refines")
    imputed: list[str] = Field(description="metrics whose variants are imputers")
    not_across: list[str] = Field(description="metrics that are not compared across architectures")
    on_common_grid: list[str] = Field(description="metrics compared across architectures on a common grid only")
    margins: dict[str, float] = Field(description="metric -> the largest difference that counts as none")


class EstimateSettings(IntervalSettings, RankSettings):
    """The settings for computing estimates, contrasts and win rates from scores."""

    primary: PrimaryVariant
    comparisons: ComparisonSettings
    seed_variance: SeedVariance = Field(description="whether the variance between seeds is pooled over architectures")
    classes: list[str] = Field(description="in the order of the model's outputs")


class MetaSettings(IntervalSettings):
    """The settings of the meta-evaluation."""

    truth: list[str] = Field(description="metrics that measure how good a map is; the first is the primary one")
    against: str = Field(description="the metric that every other is compared with; empty: none")
    order_only: list[str] = Field(description="metrics that read only the order of a map's values")


class TermSettings(StrictModel):
    """One mean in a number of a claim."""

    weight: float
    arch: str
    method: str = Field(description="its label; empty: the number needs no method")
    variant: str = Field(description="of the metric; empty: that of the test")


class TestSettings(StrictModel):
    """One number of a claim, by the labels of the study."""

    case: str = Field(description="the claim must hold in all, most or any of its cases")
    condition: str = Field(description="what the number is; in a case all conditions must hold")
    quantity: Quantity
    metric: str
    variant: str
    terms: list[TermSettings]
    rivals: list[str] = Field(description="methods that compete, or classes that are confused")
    against_metric: str = Field(description="whose correlation with the truth is subtracted")
    truth: str
    by_class: bool
    images: Images
    margin: float
    side: Side
    precondition: bool = Field(
        description="whether the claim is only about cases in which this number is beyond its margin"
    )


class ResolvedClaim(StrictModel):
    """A claim with its tests on the study, or why there is none."""

    name: str
    says: str
    paper: str
    over: Over
    tests: list[TestSettings]
    missing: str = Field(description="why the study cannot test it; empty: it can")


class ClaimsSettings(IntervalSettings):
    """The claims that a study tests."""

    claims: list[ResolvedClaim]
    min_accuracy: float = Field(description="least balanced accuracy of an architecture on which claims are tested")


class VerdictSettings(IntervalSettings):
    """The settings of the verdict."""

    methods: dict[str, list[str]] = Field(description="architecture -> its methods, without controls")
    classes: list[str]
    margins: dict[str, float] = Field(description="gate -> margin")
    metrics: dict[str, str] = Field(description="gate -> metric of the study; a gate without one is not in it")
    localization_variant: str = Field(description="variant of the metric of gate localization")
    untested: dict[str, str] = Field(description="gate -> why this study cannot test it")

    def for_gates(self) -> dict[str, Any]:
        """Return the settings that gates read, by the names of `GateRules`."""
        names = {
            "margins",
            "metrics",
            "untested",
            "localization_variant",
            "controls",
            "classes",
            "better",
            "min_groups",
        }
        return self.model_dump(include=names)


class FigureSettings(JobSettings):
    """The figure to draw, with its options."""

    use: str
    options: dict[str, Any]


class TableSettings(JobSettings):
    """The table to write."""

    use: str


class Refinement(StrictModel):
    """A method that combines the maps of another one, and that other one's labels in the study."""

    of: str = Field(description="name of the plug-in whose maps are combined")
    combine: str = Field(description="how they are combined")
    same_layer: str = Field(description="the combined method at a layer of its own; empty: not in the study")
    last_layer: str = Field(description="the combined method at its default layer; empty: not in the study")


class StudyDescription(IntervalSettings):
    """The facts about the study for captions, axes and tables."""

    title: str
    classes: list[str]
    architectures: list[str]
    seeds: list[int]
    primary: PrimaryContrast
    ranks: RankSettings
    metrics: dict[str, str] = Field(description="label -> name of the plug-in")
    refinements: dict[str, Refinement] = Field(description="label -> what a method that combines maps combines")
    evidence: EvidenceKind
    of_table: bool = Field(description="the study explains rows of a table instead of images")
    notes: list[str] = Field(description="sentences about the models in every table")

    def without_models(self) -> "StudyDescription":
        """Return only the facts about the dataset."""
        none: dict[str, Any] = {
            "architectures": [],
            "seeds": [],
            "controls": [],
            "metrics": {},
            "refinements": {},
            "bounds": {},
            "better": {},
            "notes": [],
        }
        return self.model_copy(update=none | {"primary": PrimaryContrast(metric="", method="", against="")})


class ProvenanceSettings(JobSettings):
    """The study and its dataset's card with every default filled in."""

    study: dict[str, Any]
    dataset: dict[str, Any]
