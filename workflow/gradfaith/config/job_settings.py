"""Define the settings that each rule passes to its job: one frozen model per rule, with exactly what decides its numbers.

Those of the rules that make results are in `result_settings.py`. `dag/rule_params.py` fills these models from the study and
writes them into the `params` of the rules; each script reads its own back with `of_params`. Only `weights` has no settings.
No value is filled in when params are read: a key that is missing, unknown or of another type is an error. `TrainSettings`
alone leaves out keys that came later.

Options of plug-ins stay plain mappings here, because the plug-in declares and checks them itself (config/options.py).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_serializer

from gradfaith.config.architecture import NetworkSettings
from gradfaith.config.dataset import Source
from gradfaith.config.grouping import Grouping
from gradfaith.config.sections import Harmonise, Passes, Recipe, StrictModel
from gradfaith.config.study import Comparison, ImageSelection, PluginUse, SplitUnit
from gradfaith.config.validation_errors import describe_problems
from gradfaith.errors import SettingsInvalid
from gradfaith.vocabulary import PARTS, CascadeOrder, Fit, Reading, Score

MethodGroup = Literal["methods", "controls"]  # of plug-ins


class JobSettings(StrictModel):
    """The base class of the settings of all rules."""

    def params(self) -> dict[str, Any]:
        """Return the settings as plain values for the `params` of a rule."""
        return self.model_dump()

    @classmethod
    def of_params(cls, params: Mapping[str, Any]) -> Self:
        """Return the settings in the `params` of a rule; raise SettingsInvalid if they do not belong to this rule."""
        try:
            settings = cls.model_validate(params)
        except ValidationError as error:
            problems = describe_problems(error, cls)
        else:
            problems = [f"{key}: missing, or of another type" for key in _differences(params, settings.params())]
        if problems:
            raise SettingsInvalid(
                problem=f"the job's params are not a valid {cls.__name__}: " + "\n    ".join(problems),
                reason="The rule and its script belong to different versions of GradFaith, or one of them was edited.",
                fix="Use Snakefile, rules/, scripts/ and workflow/ of one version; see dag/rule_params.py for what a rule receives.",
            )
        return settings


def _differences(given: Any, read: Any, path: str = "") -> Iterator[str]:
    """Yield the paths at which values differ, or one has no value."""
    if isinstance(given, Mapping) and isinstance(read, Mapping):
        for key in dict.fromkeys([*given, *read]):
            yield from _differences(given.get(key, ...), read.get(key, ...), f"{path}.{key}".removeprefix("."))
    elif given != read:
        yield path


# Data


class DataSettings(JobSettings):
    """How the dataset is read (`list_raw`, and all that read raw files); the path of its folder is not included."""

    name: str
    reader: str
    options: dict[str, Any] = Field(description="of the reader")
    classes: list[str] = Field(description="in the order of the model's outputs")
    private: bool = Field(description="names of files and patients are hidden")
    patient_pattern: str = Field("", description="finds the patient in a file name; empty: names do not hold it")

    def params(self) -> dict[str, Any]:
        """Return plain values; without a pattern that came later and is not used, so that nothing becomes stale."""
        return {key: value for key, value in super().params().items() if key != "patient_pattern" or value}


class FetchSettings(JobSettings):
    """Where the images may come from."""

    sources: list[Source] = Field(description="tried in this order")
    files: str = Field(description="the table of the release's files; empty: none")

    def params(self) -> dict[str, Any]:
        """Return plain values; of a source only the key that it has."""
        return self.model_dump(exclude_none=True)


class GroupSettings(DataSettings):
    """How groups are inferred."""

    groups: Grouping | None = Field(description="none where the dataset knows its groups; the rule then has no job")


class IndexSettings(DataSettings):
    """How the manifest is made."""

    max_bad_files: int


class SplitSettings(JobSettings):
    """How images are divided."""

    by: SplitUnit
    train: float
    val: float
    test: float
    tolerance: float
    seed: int
    classes: list[str]

    @property
    def shares(self) -> dict[str, float]:
        """Part -> its share of the images."""
        return {part: getattr(self, part) for part in PARTS}


class PackImagesSettings(DataSettings):
    """How files become the pixels of the store."""

    size: int = Field(description="pixels across")
    fit: Fit
    channels: Literal[1, 3]
    harmonise: Harmonise


class AuditSettings(PackImagesSettings):
    """What the audit compares."""

    split: SplitSettings
    files: str = Field(description="the table of the release's files; empty: none")
    claimed: dict[str, int] = Field(description="class -> patients, as the dataset's authors state them")
    external: str = Field(description="the study whose models are evaluated; empty: the study's own")


class LeakageCheckSettings(JobSettings):
    """How much a split may leak."""

    by: SplitUnit
    leak_limit: float
    allow_leaky_split: bool


# Models


class NormalisationSettings(StrictModel):
    """What the network expects of an image."""

    size: int
    channels: Literal[1, 3]
    mean: Literal["train"] | float | tuple[float, float, float]
    std: Literal["train"] | float | tuple[float, float, float]


class TrainSettings(JobSettings):
    """Everything that decides the weights of an architecture, except the seed and the initial weights.

    A trained model is stale when these change. So a key that came later is left out where it has the value that changes
    nothing: most keys of the recipe's second half, and the class map.
    """

    class_map: tuple[tuple[int, ...], ...] = Field((), description="outputs of each class; empty: one each, in order")
    spec: NetworkSettings
    image: NormalisationSettings
    recipe: Recipe | None = Field(description="none: weights are taken as they are")
    classes: list[str]

    def params(self) -> dict[str, Any]:
        """Return plain values, without an empty class map."""
        return self.model_dump(exclude=None if self.class_map else {"class_map"})

    @field_serializer("recipe")
    def _deciding(self, recipe: Recipe | None) -> dict[str, Any] | None:
        return None if recipe is None else recipe.deciding()


class AdoptSettings(JobSettings):
    """The map from the outputs of another study's models to the classes of this study."""

    external: str = Field(description="the study that trained them")
    class_map: tuple[tuple[int, ...], ...] = Field(description="outputs of each class")
    classes: list[str]


class PredictSettings(JobSettings):
    """How a model predicts."""

    classes: list[str] = Field(description="in the order of the model's outputs")
    passes: Passes


# Maps


class MethodSettings(StrictModel):
    """One method or control for one architecture."""

    group: MethodGroup = Field(description="of plug-ins")
    use: str = Field(description="the file's name")
    options: dict[str, Any]
    layer: str = Field(description="a module path, or `auto`")
    score: Score
    reading: Reading
    shuffled: bool = Field(description="whether shuffled copies of its maps are made")


class ExplainSettings(JobSettings):
    """The maps of one cell."""

    seed: int = Field(description="of the study")
    classes: list[str] = Field(description="in the order of the model's outputs")
    explain: ImageSelection  # a study's `explain` is one: what else it says is not written out
    passes: Passes
    copies: int = Field(description="of each shuffled map")
    organ: str = Field(description="the region that the controls may use; empty: none")
    methods: dict[str, MethodSettings]
    contrast: bool = Field(False, description="whether the two contrast classes of each image have maps, too")

    def params(self) -> dict[str, Any]:
        """Return plain values, without `contrast` where there are no such maps, as before it existed."""
        return self.model_dump(exclude=None if self.contrast else {"contrast"})


# Scores


class RerunSettings(StrictModel):
    """How a battery runs the methods of the maps again."""

    passes: Passes
    organ: str
    methods: dict[str, MethodSettings]


class FaithfulnessSettings(JobSettings):
    """One battery on the maps of one cell."""

    seed: int = Field(description="of the study")
    passes: Passes
    metrics: dict[str, PluginUse]
    imputers: dict[str, PluginUse]
    rerun: RerunSettings | None = Field(description="none: the battery reads the stored maps only")


class RandomiseSettings(JobSettings):
    """The sanity check of one cell."""

    seed: int = Field(description="of the study")
    passes: Passes
    methods: dict[str, MethodSettings]
    steps: int = Field(description="groups of modules that become random one after the other")
    orders: list[CascadeOrder]
    max_images: int | None


class LocalizationSettings(JobSettings):
    """How maps are compared with the evidence."""

    metrics: dict[str, PluginUse]


class AgreementSettings(JobSettings):
    """How the maps of several seeds are compared."""

    seed: int = Field(description="of the study, for the draws of the chance level")
    metrics: dict[str, PluginUse]


class AcrossSettings(AgreementSettings):
    """How the maps of several architectures are compared."""

    across: list[Comparison]
    localization: dict[str, PluginUse] = Field(description="metrics on the coarsest grid of all architectures")


class CompositePart(StrictModel):
    """One metric that a composite reads."""

    metric: str = Field(description="its label in the study")
    variant: str = Field(description="empty: the composite's own variant")


class CompositeSettings(StrictModel):
    """One composite."""

    use: str = Field(description="the file's name")
    options: dict[str, Any]
    parts: dict[str, CompositePart] = Field(description="by the names that the composite gives them")
    variants: list[str]


class MergeScoresSettings(JobSettings):
    """Which composites are added."""

    composites: dict[str, CompositeSettings]
