"""A study, resolved: its base and dataset read, its contradictions refused, its cells and files listed.

`Plan.read` is what the Snakefile calls; the rules ask the plan which files there are, and `dag/rule_params.py` what each rule may
know. Nothing here imports torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gradfaith import registry
from gradfaith.config import options
from gradfaith.config.class_map import Outputs, described, resolved
from gradfaith.config.consistency import find_contradictions
from gradfaith.config.dataset import Dataset
from gradfaith.config.locate import completed, trained_classes
from gradfaith.config.study import Bundle, MethodUse, Study, Uses
from gradfaith.config.training import RECIPE_VERSION
from gradfaith.config.validation_errors import invalid
from gradfaith.errors import StudyInvalid
from gradfaith.storage.paths import Layout
from gradfaith.vocabulary import SHUFFLED

CONTROLS = "controls"  # the bundle every study has
ORGAN = "lungs"  # the control that needs to know the organ
AUDIT = "audit"  # the figure every study has


@dataclass(frozen=True)
class Plan:
    """What the rules ask."""

    study: Study
    dataset: Dataset
    outputs: Outputs = ()  # of each class; empty: one each, in order

    @classmethod
    def read(cls, document: Mapping[str, Any], root: Path, where: str = "the study") -> "Plan":
        """Check a study's document and all it points to; a refusal names the key's path."""
        own = completed(document, root, where)
        try:
            study = Study.model_validate(own)
            dataset = Dataset.read(study.dataset, root)
        except ValidationError as error:
            raise invalid(where, error, Study) from None
        plan = cls(study, dataset)
        trained = trained_classes(study, plan.layout, where) if study.external else []
        mapped, problems = resolved(study, dataset, trained)
        problems += find_contradictions(study, dataset, plan.method_names)
        if problems:
            raise StudyInvalid(
                found=f"{where} contradicts itself: " + "; ".join(problems) + ".",
                why="It would fail, or measure nothing, after hours of work.",
                then="Mend these keys; config/README.md explains each.",
            )
        return replace(plan, outputs=mapped)

    @property
    def layout(self) -> Layout:
        home = self.study.base or self.study.study
        return Layout(self.study.study, home, self.study.external or home)

    @property
    def architectures(self) -> list[str]:
        return list(self.study.architectures)

    @cached_property
    def bundles(self) -> dict[str, dict[str, dict[str, Any]]]:
        """bundle -> label -> room, file, layer and options, the controls' bundle last."""
        own = {name: _uses(bundle) for name, bundle in self.study.bundles.items()}
        controls = {
            name: {
                "room": "controls",
                **MethodUse(use=name, options=options.complete("controls", name, {})).model_dump(),
            }
            for name in registry.names("controls")
            if name != ORGAN or self.dataset.organ
        }
        return own | {CONTROLS: controls}

    @property
    def method_names(self) -> list[str]:
        """Every label a map can carry."""
        methods = [label for bundle in self.bundles.values() for label in bundle]
        return methods + [SHUFFLED + label for label in methods if self.is_shuffled(label)]

    def is_shuffled(self, label: str) -> bool:
        """Methods have shuffled copies; of the controls only random-grid, to show that shuffling alone gains nothing."""
        return label not in self.bundles[CONTROLS] or label == "random-grid"

    @property
    def notes(self) -> list[str]:
        """What every table says of its models beside their names."""
        trained = ", and none was trained on these images" if self.trained_on() else ""
        said = f"External validation: the models are those of study {self.study.external}{trained}."
        return [note for note in (said if self.study.external else "", described(self.study, self.dataset)) if note]

    # what the rules ask beside paths
    def raw_files(self) -> list[str]:
        """What stands for the raw images: the record of their fetching, every file of a folder that lies ready, or nothing."""
        if self.dataset.raw is None:
            return []
        if self.dataset.fetched:
            return [self.layout.fetched(self.dataset.name)]
        files = [path for path in Path(self.dataset.raw).rglob("*") if path.is_file()]
        if not files:
            raise StudyInvalid(
                found=f"the raw folder {self.dataset.raw} of dataset {self.dataset.name} is empty or not there.",
                why="Every later step stands on its files.",
                then=f"Put the images there, or set `raw:` in config/datasets/{self.dataset.name}.yaml.",
            )
        return sorted(map(str, files))

    def trained_on(self) -> dict[str, str]:
        """The images that an external study's models were trained on, for the audit to look for."""
        if not self.study.external or self.study.training == "none":
            return {}
        return {"trained_manifest": self.layout.trained_manifest, "trained_splits": self.layout.trained_splits}

    @property
    def metrics(self) -> dict[str, Mapping[str, Any]]:
        """room -> label -> use, for every metric of the study."""
        batteries = self.study.batteries.values()
        faithfulness = {label: use for battery in batteries for label, use in battery.metrics.items()}
        return {
            "localization": self.study.localization,
            "faithfulness": faithfulness,
            "composite": self.study.composite,
            "agreement": self.study.agreement,
        }

    @property
    def between_seeds(self) -> bool:
        """Whether models of several seeds are compared; with one seed only architectures can be."""
        return bool(self.study.agreement) and len(self.study.seeds) > 1

    @property
    def randomised(self) -> list[str]:
        """The bundles whose methods explain randomised models; controls know no model."""
        asked = self.study.randomisation
        return [] if asked is None else asked.bundles or list(self.study.bundles)

    @property
    def figures(self) -> dict[str, Uses]:
        """The study's figures, and the audit's page, which every study has."""
        own = self.study.figures
        page = Uses(use=AUDIT, options=options.complete("figures", AUDIT, {"limit": self.study.split.leak_limit}))
        return ({} if AUDIT in {use.use for use in own.values()} else {AUDIT: page}) | own

    @property
    def tables(self) -> list[str]:
        """The study's tables."""
        study = self.study
        asked = {"across": bool(study.across), "meta": study.meta is not None}
        return ["classification", "maps", "ranks", *(table for table, wanted in asked.items() if wanted)]

    def starting_weights(self, arch: str) -> str | None:
        """The file a training starts from; none: random weights."""
        spec, training = self.study.architectures[arch], self.study.training
        said = spec.weights or ("none" if training == "none" else training.weights)
        if said == "pretrained":
            return self.layout.pretrained(spec.timm or arch)
        return None if said == "none" else said

    @property
    def pretrained(self) -> list[str]:
        """The timm names whose weights are fetched."""
        specs = self.study.architectures.items() if not self.study.external else ()
        names = dict.fromkeys(spec.timm or arch for arch, spec in specs)
        started = {self.starting_weights(arch) for arch, _ in specs}
        return [name for name in names if self.layout.pretrained(name) in started]

    def layer(self, arch: str, use: Mapping[str, Any]) -> str:
        """Where a use takes its maps from: the layer it is given for this architecture, its method's own, or the architecture's."""
        given = use["layer"]
        given = given.get(arch, "") if isinstance(given, Mapping) else given
        own = registry.entry(use["room"], use["use"]).declared.get("at", "")
        return given or own or self.study.architectures[arch].layer

    def methods(self, arch: str, bundle: str) -> dict[str, dict[str, Any]]:
        """label -> use, of those that a bundle asks of an architecture."""
        return {
            label: {key: value for key, value in use.items() if key != "only"}
            | {"layer": self.layer(arch, use), "shuffled": self.is_shuffled(label)}
            for label, use in self.bundles[bundle].items()
            if arch in (use["only"] or [arch])
        }

    def cells(self, arch: str) -> list[str]:
        """The bundles that ask an architecture something; all, where architectures are compared bundle by bundle."""
        return [bundle for bundle in self.bundles if self.study.across or self.methods(arch, bundle)]

    def maps(self, arch: str) -> list[str]:
        """The stores of an architecture's models, seed by seed and bundle by bundle."""
        words = product(self.study.seeds, self.cells(arch))
        return [self.layout.maps.format(arch=arch, seed=seed, bundle=bundle) for seed, bundle in words]

    def probed(self, arch: str) -> str:
        """Every method that is asked of an architecture, as one word each: probed before anything is trained."""
        uses = {label: use for bundle in self.bundles for label, use in self.methods(arch, bundle).items()}
        return " ".join(
            ":".join((label, use["room"], use["use"], use["layer"], use["options"].get("of", "")))
            for label, use in uses.items()
        )

    @property
    def recipe_threads(self) -> int:
        return 1 if self.study.training == "none" else self.study.training.threads

    @property
    def recipe_version(self) -> int:
        return RECIPE_VERSION

    def every(self, path: str) -> list[str]:
        """One path per model."""
        return [path.format(arch=arch, seed=seed) for arch in self.architectures for seed in self.study.seeds]

    def score_tables(self) -> list[str]:
        """Every table that is collected."""
        layout = self.layout
        tables = self.every(layout.localization) if self.study.localization else []
        tables += self._cells(layout.faithfulness)
        for bundle in self.randomised:
            tables += self._of_bundle(layout.randomisation, bundle)
        if self.between_seeds:
            tables += [layout.agreement.format(arch=arch) for arch in self.architectures]
        return tables + ([layout.across] if self.study.across else [])

    def curve_tables(self) -> list[str]:
        """What the model said at every share of pixels removed, cell by cell."""
        return self._cells(self.layout.faithfulness_curves)

    def _cells(self, path: str) -> list[str]:
        cells = product(self.bundles, self.study.batteries)
        return [
            file for bundle, battery in cells for file in self._of_bundle(path.replace("{battery}", battery), bundle)
        ]

    def _of_bundle(self, path: str, bundle: str) -> list[str]:
        """One path per model that the bundle asks something of."""
        archs = [arch for arch in self.architectures if bundle in self.cells(arch)]
        return [path.format(arch=arch, seed=seed, bundle=bundle) for arch, seed in product(archs, self.study.seeds)]

    def figure_inputs(self, figure: str) -> dict[str, str | list[str]]:
        """The files that a figure says it needs."""
        layout = self.layout
        maps = [path for bundle in self.bundles for path in self._of_bundle(layout.maps, bundle)]
        offered: dict[str, str | list[str]] = {
            "estimates": layout.estimates, "meta": layout.meta, "contrasts": layout.contrasts, "classification": layout.classification,
            "predictions": self.every(layout.predictions), "scores": layout.scores, "curves": layout.curves, "manifest": layout.manifest,
            "images": layout.images, "maps": maps, "audit": layout.audit, "splits": layout.splits,
        }  # fmt: skip
        return {need: offered[need] for need in registry.entry("figures", self.figures[figure].use).declared["needs"]}


def _uses(bundle: Bundle) -> dict[str, dict[str, Any]]:
    return {label: {"room": "methods", **use.model_dump()} for label, use in bundle.methods.items()}
