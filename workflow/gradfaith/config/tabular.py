"""Define a study of tables, and the settings that its rules pass to their jobs.

A document with the key `table:` is such a study. It shares seeds, statistics, verdict, figures and the section `compute:` with
studies of images; its models, methods and metrics are plug-ins for tables. The defaults make a study of ten lines:

    study: mine
    table: {source: csv, options: {file: people.csv, target: outcome, group: person}}
    models: [linear, feed_forward]
"""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from gradfaith import registry
from gradfaith.config import options
from gradfaith.config.compute import Compute
from gradfaith.config.job_settings import JobSettings
from gradfaith.config.sections import Label, Line, Seed, Share, StrictModel
from gradfaith.config.statistics import Statistics
from gradfaith.config.study import NamedPlugins, PluginUse, Primary
from gradfaith.config.verdict import Verdict
from gradfaith.vocabulary import SHUFFLED, TableImputer, TableScale, Task

PLUGIN_KEYS = {"models": "table_models", "methods": "table_methods", "metrics": "table_metrics", "figures": "figures"}
CONTROLS = ("random", "feature_variance", "deviation")  # in every study
METHODS = ("exact_shapley", "kernel_shap", "shapley_sampling", "deep_shap", "lime")
METRICS = (
    "removal_gap", "removal_correlation", "truth_auc", "truth_correlation", "exact_correlation", "additivity_error",
    "seed_agreement", "repeat_agreement",
)  # fmt: skip
SHOWN = [
    "removal_gap",
    "removal_correlation",
    "truth_auc",
    "exact_correlation",
    "seed_agreement",
]  # beside the controls
FIGURES = (
    "controls", "prediction_panel", "contribution_bars", "beeswarm", "mean_bars", "waterfall", "force", "dependence", "boundary",
)  # fmt: skip


def _default(names: tuple[str, ...]) -> dict[str, Any]:
    return {name: {"options": {"metrics": SHOWN}} if name == "controls" else {} for name in names}


class TableUse(StrictModel):
    """Which table, and what is explained in it."""

    source: Label = Field(
        "census", description="`census` (computed), `csv` (your own file), `adult` (fetched from UCI)"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="options of the source; of `csv`: file, target, group, drop"
    )
    task: Task = Field(
        "classification", description="classification explains one class against all others, regression a number"
    )
    positive: str = Field("", description="the value of the target that is explained; empty: the second of two values")
    keep: list[str] = Field(
        default=[], description="columns that stay although they look like an identifier or the target"
    )

    @model_validator(mode="after")
    def _complete(self) -> "TableUse":
        object.__setattr__(self, "options", options.complete("table_sources", self.source, self.options))
        if broken := options.broken_limits("table_sources", self.source, self.options, {}):
            raise ValueError("; ".join(broken))
        if "regression" in self.options and self.options["regression"] != (self.task == "regression"):
            raise ValueError("task and options.regression differ: both decide what the table's target is")
        return self


class TableSplit(StrictModel):
    """How groups are divided: who is trained on, who selects the epoch, who is explained."""

    train: Share = Field(0.6, description="share of the rows to train on")
    val: Share = Field(0.2, description="share that selects a network's epoch")
    test: Share = Field(0.2, description="share that is explained and measured")
    tolerance: Share = Field(
        0.1, description="largest deviation of a part's share from the request; with few groups it must be larger"
    )

    @model_validator(mode="after")
    def _adds_up(self) -> "TableSplit":
        if abs(self.train + self.val + self.test - 1) > 1e-6 or not min(self.train, self.val, self.test) > 0:
            raise ValueError("train, val and test must be above 0 and add up to 1")
        return self


class ExplainTable(StrictModel):
    """Which rows are explained, and against which background."""

    rows: int = Field(48, ge=1, le=100_000, description="largest number of test rows, evenly from the groups")
    background: int = Field(24, ge=1, le=10_000, description="training rows that stand for features that are not known")
    repeats: int = Field(2, ge=1, le=10, description="runs of each method that draws random numbers")
    copies: int = Field(5, ge=5, le=20, description="shuffled copies of each method's numbers")
    score: TableScale = Field("logit", description="of a classification: what is explained")
    boundary: list[str] = Field(
        default=[], max_length=2, description="two numeric features of the decision boundary; empty: the first two"
    )


class TabularStudy(StrictModel):
    """One table, its split, models, seeds, methods, metrics and statistics."""

    study: Label = Field(description="name of the study; all its output is in `results/<study>/`")
    title: Line = Field("", description="title in the report: one line of visible characters")
    seed: Seed = Field(0, description="random seed of the split, the methods and the controls")
    table: TableUse = Field(description="the table, and what is explained in it")
    split: TableSplit = Field(default_factory=TableSplit, description="how groups of rows are divided")
    models: NamedPlugins = Field(min_length=1, description="models of tables, and their options")
    seeds: list[Seed] = Field(default=[0, 1, 2], min_length=1, description="one model is trained per kind and seed")
    explain: ExplainTable = Field(default_factory=ExplainTable, description="which rows are explained, and how")
    methods: NamedPlugins = Field(
        default_factory=lambda: _default(METHODS),
        validate_default=True,
        min_length=1,
        description="methods, and their options",
    )
    metrics: NamedPlugins = Field(
        default_factory=lambda: _default(METRICS),
        validate_default=True,
        min_length=1,
        description="metrics, and their options",
    )
    imputers: list[TableImputer] = Field(
        default=["marginal", "conditional", "mean"],
        min_length=1,
        description="how features are removed; the first is primary",
    )
    primary: Primary = Field(
        default_factory=lambda: Primary(metric="removal_gap", method="kernel_shap", against="shuffled-kernel_shap"),
        description="the one comparison that is named before the run",
    )
    statistics: Statistics = Field(default_factory=Statistics, description="intervals and win rates")
    verdict: Verdict | Literal[False] = Field(default_factory=Verdict, description="margins of gates; false: none")
    figures: NamedPlugins = Field(
        default_factory=lambda: _default(FIGURES), validate_default=True, description="figures and their options"
    )
    compute: Compute = Field(default_factory=Compute, description="how the machine is used")

    @field_validator(*PLUGIN_KEYS, mode="after")
    @classmethod
    def _known(cls, named: dict[str, PluginUse], info: Any) -> dict[str, PluginUse]:
        group, found = PLUGIN_KEYS[info.field_name], {}
        for label, use in named.items():
            name = use.use or label
            values = options.complete(group, name, use.options)
            if broken := options.broken_limits(group, name, values, {"size": 1, "seeds": 1}):
                raise ValueError(f"{label}: {'; '.join(broken)}")
            found[label] = PluginUse(use=name, options=values)
        return found

    @model_validator(mode="after")
    def _agrees(self) -> "TabularStudy":
        labels = [*self.methods, *CONTROLS, *(SHUFFLED + label for label in self.methods)]
        if taken := set(self.methods) & set(CONTROLS):
            raise ValueError(f"methods: {', '.join(sorted(taken))} is a control, and every study has it")
        for key, value, known in (("metric", self.primary.metric, list(self.metrics)), ("method", self.primary.method, list(self.methods)),
                                  ("against", self.primary.against, labels)):  # fmt: skip
            if value not in known:
                raise ValueError(f"primary.{key}: {value} is not one of {', '.join(known)}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must differ, found {self.seeds}")
        if len(self.explain.boundary) == 1 or (self.explain.boundary and len(set(self.explain.boundary)) < 2):
            raise ValueError(f"explain.boundary: two different features, or none, found {self.explain.boundary}")
        return self

    @property
    def exact(self) -> str:
        """Return the label of the method with exact values; "" if there is none."""
        return next((label for label, use in self.methods.items() if use.use == "exact_shapley"), "")

    @property
    def additive(self) -> list[str]:
        """Return the labels of the methods whose numbers add up to the answer."""
        return [
            label
            for label, use in self.methods.items()
            if registry.entry("table_methods", use.use).declared.get("additive", False)
        ]


class TableIndexSettings(JobSettings):
    """How a table is read and split."""

    source: str
    options: dict[str, Any]
    task: Task
    positive: str
    keep: list[str]
    split: TableSplit
    seed: int


class TableTrainSettings(JobSettings):
    """How one model is fitted; the seed is the job's own."""

    model: PluginUse
    task: Task


class TableExplainSettings(JobSettings):
    """What is explained, by which methods and controls."""

    methods: dict[str, PluginUse]
    explain: ExplainTable
    task: Task
    seed: int


class TableScoreSettings(JobSettings):
    """Which metrics are computed."""

    metrics: dict[str, PluginUse]
    imputers: list[TableImputer]
    exact: str
    additive: list[str]
    score: TableScale
    task: Task
    seed: int
