"""What a study is: one file that says everything, checked before any job starts.

The models below define the configuration: the schema for editors and docs/keys.md are written from them.
Names of methods, metrics, imputers, readers and figures are looked up in the
registry, which reads syntax trees, so nothing here imports torch.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from gradfaith import registry
from gradfaith.config import options
from gradfaith.config.compute import Compute
from gradfaith.config.sections import (
    LABEL_LENGTH,
    LABEL_PATTERN,
    Architecture,
    Image,
    Inference,
    Label,
    Line,
    Meta,
    Passes,
    Precision,
    Randomisation,
    Seed,
    Share,
    StrictModel,
    Training,
)
from gradfaith.vocabulary import LEVEL, MIN_GROUPS, SHUFFLED, ControlPlacement, Part, Reading, Score

Output = Annotated[int, Field(ge=0)] | str
SplitUnit = Literal["group", "slice"]  # what is never divided
Comparison = Literal["architectures", "ensemble"]  # of models beside their seeds
TAKEN_FROM_BASE = ("dataset", "split", "image", "architectures", "seeds", "training", "class_map", "seed")
TAKEN_FROM_EXTERNAL = ("image", "architectures", "seeds", "training")


class PluginUse(StrictModel):
    """One plug-in with the options it is given."""

    use: str = Field("", description="the file's name; empty: the key itself is the name")
    options: dict[str, Any] = Field(default_factory=dict, description="its options; what is left out keeps its default")


def _named(value: Any) -> Any:
    """A list of names, or a mapping of labels: both are read as a mapping."""
    if isinstance(value, list):
        if not all(isinstance(name, str) for name in value) or len(set(value)) < len(value):
            raise ValueError("a list holds plain names, each once; with options write `label: {options: ...}`")
        return {name: {} for name in value}
    return {key: ({} if use is None else use) for key, use in value.items()} if isinstance(value, dict) else value


NamedPlugins = Annotated[dict[Label, PluginUse], BeforeValidator(_named)]


def _completed(group: str, named: Mapping[str, PluginUse]) -> dict[str, PluginUse]:
    """Every use with its file's name and all of its options."""
    return {
        label: use.model_copy(update={"use": name, "options": options.complete(group, name, use.options)})
        for label, use in named.items()
        if (name := use.use or label)
    }


class DatasetUse(StrictModel):
    """Which dataset, and what this study changes of its options."""

    name: Label = Field(description="a file in config/datasets/, without `.yaml`")
    options: dict[str, Any] = Field(default_factory=dict, description="options of its reader that this study overrides")
    source: str = Field(
        "",
        description="a folder (read where it lies) or zip to take the images from, instead of the dataset's own sources",
    )
    max_bad_files: int = Field(
        0, ge=0, le=1_000_000_000, description="so many unreadable images are left out, by name; more stop the study"
    )


class Split(StrictModel):
    """Who is trained on, who chooses, who is measured."""

    by: SplitUnit = Field(
        "group",
        description="what is never divided: the group (a patient, where patients are known); `slice` leaks, and is a contrast only",
    )
    train: Share = Field(0.6, description="share of the images to train on")
    val: Share = Field(0.2, description="share that chooses the best epoch and the temperature")
    test: Share = Field(0.2, description="share that is measured")
    tolerance: Share = Field(
        0.1, description="how far a part's share, overall and of each class, may be from what was asked"
    )
    seed: Seed | None = Field(None, description="of the split alone; empty: the study's seed")
    leak_limit: Share = Field(
        0.75, description="balanced accuracy of a nearest neighbour, from train to test, above which the study stops"
    )
    allow_leaky_split: bool = Field(False, description="go on all the same: every table and figure then says so")

    @model_validator(mode="after")
    def _whole(self) -> "Split":
        if abs(self.train + self.val + self.test - 1) > 1e-6:
            raise ValueError(f"train, val and test must add up to 1, found {self.train + self.val + self.test:g}")
        if self.by == "slice" and not self.allow_leaky_split:
            raise ValueError(
                "`by: slice` puts slices of one patient on both sides, so it also needs `allow_leaky_split: true`"
            )
        return self


class MethodUse(PluginUse):
    """A method under the study's label."""

    layer: str | dict[Label, str] = Field(
        "", description="a module path, or one per architecture; empty: the method's own, else the architecture's layer"
    )
    score: Score = Field(
        "logit",
        description="what is explained: the class's logit, its log-odds, or its margin over the best other class",
    )
    reading: Reading = Field(
        "positive", description="what metrics and figures read of signed maps: the positive part, or absolute values"
    )
    only: list[Label] = Field(default=[], description="architectures it is asked of; empty: all of them")


class Bundle(StrictModel):
    """Methods that are computed together because they share model passes."""

    methods: Annotated[dict[Label, MethodUse], BeforeValidator(_named)] = Field(
        description="names, or labels with `use`, `layer` and `options`"
    )

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: dict[str, MethodUse]) -> dict[str, MethodUse]:
        return _completed("methods", methods)  # type: ignore[return-value]


class Controls(StrictModel):
    """The methods that know nothing; every study has all of them."""

    copies: int = Field(5, ge=5, le=20, description="shuffled copies of each map, drawn apart for every image")


class ImageSelection(StrictModel):
    """Which images are explained."""

    parts: list[Part] = Field(default=["test"], min_length=1, description="parts of the split")
    max_images: int | None = Field(
        None, ge=1, le=1_000_000_000, description="at most so many, drawn evenly from the groups; empty: all"
    )
    only_correct: bool = Field(False, description="only images that the model gets right")


class Explain(ImageSelection):
    """Which images are explained, and in which precision."""

    precision: Precision = Field(
        "float32", description="of the passes that make maps; bf16 is two to three times faster and rounds maps"
    )


class Battery(StrictModel):
    """Faithfulness metrics that share changed images."""

    metrics: NamedPlugins = Field(min_length=1, description="names of faithfulness metrics, all of one kind")
    imputers: NamedPlugins = Field(
        default_factory=dict, description="what takes the place of removed pixels; the first is the primary one"
    )

    @model_validator(mode="after")
    def _known(self) -> "Battery":
        for key, group in (("metrics", "faithfulness"), ("imputers", "imputers")):
            object.__setattr__(self, key, _completed(group, getattr(self, key)))
        return self

    @property
    def kind(self) -> str:
        """What its metrics are: masking, ranking, rerun."""
        first = next(iter(self.metrics.values()))
        return str(registry.entry("faithfulness", first.use).declared["battery"])


class Primary(StrictModel):
    """The one comparison that is named before the data is seen."""

    metric: Label = Field(description="a metric of the study")
    method: Label = Field(description="a method of the study")
    against: Annotated[str, StringConstraints(pattern=LABEL_PATTERN, max_length=len(SHUFFLED) + LABEL_LENGTH)] = Field(
        description="a control, or `shuffled-<method>`"
    )


class Statistics(StrictModel):
    """How scores become estimates."""

    level: float = Field(LEVEL, gt=0.5, lt=1, description="coverage of the intervals")
    min_groups: int = Field(MIN_GROUPS, ge=2, le=1_000_000, description="below this many groups no interval is printed")
    rank_controls: ControlPlacement = Field("beside", description="win rates: each alone, or all in the field")
    rank_only_correct: bool = Field(False, description="win rates: only of images that the model gets right")


class Keep(StrictModel):
    """What stays when the study is done; what does not must be computed again before a figure that shows it can change."""

    maps: bool = Field(True, description="the map stores, some kilobytes per image")


class Study(StrictModel):
    """One dataset, its split, architectures, seeds, methods, metrics and statistics."""

    study: Label = Field(description="its name; everything it makes lies under `results/<study>/`")
    title: Line = Field("", description="a line for the report, of visible characters")
    base: Label | None = Field(
        None, description=f"a study to stand on: {', '.join(TAKEN_FROM_BASE)} and their files come from there"
    )
    external: Label | None = Field(
        None,
        description="external validation: a finished study whose models are asked about this study's images, all of them test; "
        f"{', '.join(TAKEN_FROM_EXTERNAL)} come from there",
    )
    seed: Seed = Field(0, description="of the split, the shuffles and the controls")
    dataset: DatasetUse = Field(description="the data")
    split: Split = Field(default_factory=Split, description="the split by group")
    image: Image = Field(default_factory=Image, description="size and normalisation")
    architectures: dict[Label, Architecture] = Field(min_length=1, description="label -> architecture")
    seeds: list[Seed] = Field(min_length=1, description="one model per architecture and seed")
    training: Training | Literal["none"] = Field(description="the recipe, or `none`: weights are taken as they are")
    class_map: dict[str, Annotated[list[Output], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="class of the dataset -> outputs of the classifier that stand for it, by index (with `external` also by name); "
        "for `training: none` and `external`",
    )
    bundles: dict[Label, Bundle] = Field(min_length=1, description="label -> methods that share passes")
    controls: Controls = Field(default_factory=Controls, description="the controls of every table")
    inference: Inference = Field(
        default_factory=Inference,
        description="how networks compute where they only answer: predictions, maps and scores",
    )
    explain: Explain = Field(default_factory=Explain, description="which images are explained")
    localization: NamedPlugins = Field(default_factory=dict, description="metrics that compare maps with evidence")
    batteries: dict[Label, Battery] = Field(
        default_factory=dict, description="label -> faithfulness metrics that share changed images"
    )
    composite: NamedPlugins = Field(
        default_factory=dict, description="metrics made of other metrics' scores, map by map"
    )
    agreement: NamedPlugins = Field(
        default_factory=dict, description="metrics that compare models; between seeds, where there are several"
    )
    across: list[Comparison] = Field(
        default=[],
        description="the same metrics between architectures too, and between each model and the mean map of all others",
    )
    randomisation: Randomisation | None = Field(None, description="the model-parameter sanity check; empty: not done")
    meta: Meta | None = Field(None, description="the metrics judged by the evidence; empty: not done")
    primary: Primary = Field(description="the comparison named beforehand")
    statistics: Statistics = Field(default_factory=Statistics, description="intervals")
    figures: NamedPlugins = Field(default_factory=dict, description="figures and their options")
    compute: Compute = Field(default_factory=Compute, description="the machine")
    keep: Keep = Field(default_factory=Keep, description="what stays")

    @field_validator("localization", "composite", "agreement", "figures")
    @classmethod
    def _known(cls, named: dict[str, PluginUse], info: Any) -> dict[str, PluginUse]:
        return _completed(info.field_name, named)

    @field_validator("across")
    @classmethod
    def _each_once(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names):
            raise ValueError(f"each once, found {', '.join(names)}")
        return names

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds must differ, found {seeds}")
        return sorted(seeds)

    @property
    def passes(self) -> Passes:
        """Return how networks predict, and answer to changed images."""
        return Passes(**self.inference.model_dump())

    @property
    def map_passes(self) -> Passes:
        """Return how networks are explained."""
        return self.passes.model_copy(update={"precision": self.explain.precision})

    @model_validator(mode="after")
    def _known_resource_factors(self) -> "Study":
        if strange := sorted(set(self.compute.resource_factors) - set(self.architectures)):
            raise ValueError(f"compute.resource_factors: {', '.join(strange)} is no architecture of the study")
        return self
