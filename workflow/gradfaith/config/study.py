"""Define a study: one file with all settings, checked before any job starts.

The models below define the configuration: the schema for editors and docs/keys.md are written from them.
Names of methods, metrics, imputers, readers and figures are looked up in the
registry, which reads syntax trees, so nothing here imports torch.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from gradfaith import registry
from gradfaith.config import options
from gradfaith.config.architecture import Architecture
from gradfaith.config.claims import DeclaredClaim
from gradfaith.config.compute import Compute, Keep
from gradfaith.config.sections import (
    LABEL_LENGTH,
    LABEL_PATTERN,
    DatasetUse,
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
from gradfaith.config.statistics import Statistics
from gradfaith.config.verdict import Verdict
from gradfaith.vocabulary import SHUFFLED, Part, Reading, Score

Output = Annotated[int, Field(ge=0)] | str
SplitUnit = Literal["group", "slice", "folder"]  # what is never divided
Comparison = Literal["architectures", "ensemble", "localization"]  # of models beside their seeds
TAKEN_FROM_BASE = ("dataset", "split", "image", "architectures", "seeds", "training", "class_map", "seed")
TAKEN_FROM_EXTERNAL = ("image", "architectures", "seeds", "training")


class PluginUse(StrictModel):
    """One plug-in with the options it is given."""

    use: str = Field("", description="the name of the plug-in; empty: the key itself is the name")
    options: dict[str, Any] = Field(default_factory=dict, description="its options; others keep their defaults")


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


class Split(StrictModel):
    """Who is trained on, who chooses, who is measured."""

    by: SplitUnit = Field(
        "group",
        description="the unit that is never divided: the group (a patient, if patients are known); `slice` leaks, so use it for comparison only; "
        "`folder`: the release's own folders `test` and `train`, the second one divided into train and val by group",
    )
    train: Share = Field(0.6, description="share of the images to train on")
    val: Share = Field(0.2, description="share that selects the best epoch and the calibration")
    test: Share = Field(0.2, description="share that is explained and measured")
    tolerance: Share = Field(
        0.1, description="largest deviation of a part's share from the requested share, overall and for each class"
    )
    seed: Seed | None = Field(None, description="random seed of the split; empty: the seed of the study")
    leak_limit: Share = Field(
        0.75, description="stop if the balanced accuracy of a nearest neighbour on the test part is above this"
    )
    allow_leaky_split: bool = Field(False, description="continue after a leak, with a warning everywhere")

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
        "",
        description="a module path, `early` or `middle` (of the network's stages), or one per architecture; "
        "empty: the method's default, else the architecture's",
    )
    score: Score = Field(
        "logit",
        description="what is explained: the class's logit, log-odds, margin over the best other class, or probability",
    )
    reading: Reading = Field(
        "positive", description="what metrics and figures use of signed maps: the positive part, or absolute values"
    )
    only: list[Label] = Field(default=[], description="architectures on which the method runs; empty: all")


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
    """The controls, which do not use the model; every study has all of them, except shuffled copies that it leaves out."""

    copies: int = Field(5, ge=5, le=20, description="shuffled copies of each map, different for every image")
    shuffled: Literal["all"] | list[Label] = Field("all", description="methods whose maps have shuffled copies")


class ImageSelection(StrictModel):
    """Which images are explained."""

    parts: list[Part] = Field(default=["test"], min_length=1, description="parts of the split")
    max_images: int | None = Field(
        None, ge=1, le=1_000_000_000, description="largest number of images, drawn evenly from the groups; empty: all"
    )
    only_correct: bool = Field(False, description="only images that the model classifies correctly")


class Explain(ImageSelection):
    """Which images are explained, and in which precision."""

    precision: Precision = Field(
        "float32", description="of the passes that make maps; bf16 is two to three times faster and rounds maps"
    )


class Battery(StrictModel):
    """Faithfulness metrics that share changed images."""

    metrics: NamedPlugins = Field(min_length=1, description="faithfulness metrics: all masking, ranking or rerun")
    imputers: NamedPlugins = Field(
        default_factory=dict, description="what replaces removed pixels; the first one is primary"
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


class Study(StrictModel):
    """One dataset, its split, architectures, seeds, methods, metrics and statistics."""

    study: Label = Field(description="name of the study; all its output is in `results/<study>/`")
    title: Line = Field("", description="title in the report: one line of visible characters")
    base: Label | None = Field(None, description=f"a study that provides {', '.join(TAKEN_FROM_BASE)} and their files")
    external: Label | None = Field(
        None,
        description="external validation: a finished study whose models are measured on this study's images, all as test images; "
        f"{', '.join(TAKEN_FROM_EXTERNAL)} come from there",
    )
    seed: Seed = Field(0, description="random seed of the split, the shuffled copies and the controls")
    dataset: DatasetUse = Field(description="the dataset and what the study changes of it")
    split: Split = Field(default_factory=Split, description="how the images are divided into train, val and test")
    image: Image = Field(default_factory=Image, description="size and normalisation of the images")
    architectures: dict[Label, Architecture] = Field(min_length=1, description="label -> network")
    seeds: list[Seed] = Field(min_length=1, description="random seeds; one model is trained per architecture and seed")
    training: Training | Literal["none"] = Field(description="the training recipe; `none`: use existing weights")
    class_map: dict[str, list[Output]] = Field(
        default_factory=dict,
        description="class of the dataset -> outputs of the classifier for this class, by index (with `external` also by name); "
        "for `training: none` and `external`",
    )
    bundles: dict[Label, Bundle] = Field(min_length=1, description="label -> methods that share passes")
    controls: Controls = Field(default_factory=Controls, description="settings of the controls")
    inference: Inference = Field(
        default_factory=Inference, description="how networks compute predictions, maps and scores"
    )
    explain: Explain = Field(default_factory=Explain, description="which images are explained")
    localization: NamedPlugins = Field(default_factory=dict, description="metrics that compare maps with evidence")
    batteries: dict[Label, Battery] = Field(
        default_factory=dict, description="label -> faithfulness metrics that share modified images"
    )
    composite: NamedPlugins = Field(
        default_factory=dict, description="metrics computed from the scores of other metrics, map by map"
    )
    agreement: NamedPlugins = Field(
        default_factory=dict, description="metrics that compare models, between seeds if there are several"
    )
    across: list[Comparison] = Field(
        default=[],
        description="use the agreement metrics also between architectures, and between each model and the mean map of all others "
        "(`ensemble`); `localization`: also measure it on the coarsest grid of all architectures, to compare them",
    )
    randomisation: Randomisation | None = Field(None, description="the model-parameter sanity check; empty: not done")
    meta: Meta | None = Field(None, description="tests of the metrics where evidence is known; empty: not done")
    primary: Primary = Field(description="the one comparison that is named before the run")
    claims: dict[Label, DeclaredClaim] = Field(
        default_factory=dict,
        description="sentences to test: a list of names in config/claims.yaml, the path of such a file, or a mapping with claims "
        "of your own",
    )
    roles: dict[Label, list[Label]] = Field(
        default_factory=dict, description="role in `claims` -> architectures; empty: by the module of timm"
    )
    statistics: Statistics = Field(default_factory=Statistics, description="intervals and win rates")
    verdict: Verdict | Literal[False] = Field(default_factory=Verdict, description="margins of gates; false: none")
    figures: NamedPlugins = Field(default_factory=dict, description="figures and their options")
    tables: list[Label] = Field(default=[], description="tables beside those that every study has")
    compute: Compute = Field(default_factory=Compute, description="how the machine is used")
    keep: Keep = Field(default_factory=Keep, description="which outputs are kept")

    @field_validator("localization", "composite", "agreement", "figures")
    @classmethod
    def _known(cls, named: dict[str, PluginUse], info: Any) -> dict[str, PluginUse]:
        return _completed(info.field_name, named)

    @field_validator("tables")
    @classmethod
    def _optional_tables(cls, names: list[str]) -> list[str]:
        known = [name for name, entry in registry.entries("tables").items() if entry.declared.get("optional")]
        if strange := [name for name in names if name not in known]:
            raise ValueError(f"there is no table {strange[0]} to add{registry.did_you_mean(strange[0], known)}")
        return names

    @field_validator("across", "tables")
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
            raise ValueError(f"compute.resource_factors: {', '.join(strange)} is not an architecture of the study")
        return self
