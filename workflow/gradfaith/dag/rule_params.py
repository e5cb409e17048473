"""Return the `params` of each rule: the part of the study that decides its numbers, and the digest of its code.

The settings of a rule (config/job_settings.py) contain everything that decides its numbers and nothing else. So changing
one key makes only the dependent outputs stale. Machine settings are in no params: scripts read the study's `compute` section.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradfaith import registry
from gradfaith.config import claim_tests, derived_metrics, job_settings, method_uses, result_settings
from gradfaith.config.architecture import NetworkSettings
from gradfaith.config.sections import Recipe
from gradfaith.dag import code_digest
from gradfaith.dag.plan import AUDIT, CONTROLS, Plan
from gradfaith.data import raw_files
from gradfaith.storage import paths
from gradfaith.storage.paths import PROJECT
from gradfaith.vocabulary import RANDOMISATION, RERUN_BATTERY

RANDOMISED_AGREEMENT = {"better": "lower", "bounds": (-1, 1)}  # a rank correlation
SCRIPTS = PROJECT / "scripts"
RERUN_CODE = code_digest.module_file("attribution.rerun")  # loaded by name if methods are run again
NOT_IN_PROVENANCE = frozenset(  # scripts that compute no scores
    ["fetch", "list_raw", "weights", "packaged_weights", "adopt", "train", "figure", "table", "provenance"]
)
PER_PLUGIN = {"explain", "faithfulness", "randomise", "meta", "claims", "verdict"}  # several digests, or optional


@dataclass(frozen=True)
class RuleParams:
    """Makes the `params` of the rules: one method per rule, of the same name."""

    plan: Plan

    @property
    def data_settings(self) -> job_settings.DataSettings:
        """Return the settings for reading the dataset."""
        return job_settings.DataSettings(**self._data())

    def _data(self) -> dict[str, Any]:
        dataset = self.plan.dataset
        fields = dataset.model_dump(include=set(job_settings.DataSettings.model_fields))
        return fields | {"patient_pattern": dataset.patient_pattern}

    def list_raw(self) -> dict[str, Any]:
        return self.data_settings.params()

    def raw_content(self) -> str:
        """Return a digest of the raw files; for fetched files, of those that were edited since."""
        dataset, record = self.plan.dataset, Path(self.plan.paths.fetched(self.plan.dataset.name))
        if dataset.raw is None or (dataset.fetched and not record.is_file()):
            return ""
        raw = raw_files.open_raw(self.data_settings, dataset.raw)
        if dataset.fetched:
            return raw_files.edits_digest(raw, record)
        return raw_files.listing_digest(raw_files.list_files(raw, paths.raw_digests(dataset.name)))

    def fetch(self) -> dict[str, Any]:
        """Return the sources in their order."""
        return job_settings.FetchSettings(sources=self.plan.dataset.sources, files=self.plan.dataset.files).params()

    def group(self) -> dict[str, Any]:
        return job_settings.GroupSettings(**self._data(), groups=self.plan.dataset.inferred_groups).params()

    def index(self) -> dict[str, Any]:
        return job_settings.IndexSettings(**self._data(), max_bad_files=self.plan.study.dataset.max_bad_files).params()

    def split(self) -> dict[str, Any]:
        return self._split.params()

    @property
    def _split(self) -> job_settings.SplitSettings:
        study, exclude = self.plan.study, {"seed", "leak_limit", "allow_leaky_split"}
        seed = study.seed if study.split.seed is None else study.split.seed
        return job_settings.SplitSettings(
            **study.split.model_dump(exclude=exclude), seed=seed, classes=self.plan.dataset.classes
        )

    def pack_images(self) -> dict[str, Any]:
        return job_settings.PackImagesSettings(**self._packed()).params()

    def _packed(self) -> dict[str, Any]:
        return self._data() | self.plan.study.image.model_dump(include={"size", "fit", "channels", "harmonise"})

    def audit(self) -> dict[str, Any]:
        files, claimed = self.plan.dataset.files, self.plan.dataset.claimed
        external = self.plan.study.external or ""
        more = {"split": self._split, "files": files, "claimed": claimed, "external": external}
        return job_settings.AuditSettings(**self._packed(), **more).params()

    def leakage_check(self) -> dict[str, Any]:
        how = self.plan.study.split.model_dump(include=set(job_settings.LeakageCheckSettings.model_fields))
        return job_settings.LeakageCheckSettings(**how).params()

    def train(self, arch: str) -> dict[str, Any]:
        """Return everything that decides the weights of an architecture, except the seed."""
        spec, study = self.plan.study.architectures[arch], self.plan.study
        image = study.image.model_dump(include=set(job_settings.NormalisationSettings.model_fields))
        return job_settings.TrainSettings(
            class_map=self.plan.class_outputs,
            spec=NetworkSettings.of(arch, spec, code_digest.digest_own_code(spec.module)),
            image=job_settings.NormalisationSettings(**image),
            recipe=None if study.training == "none" else Recipe(**study.training.model_dump(exclude={"weights"})),
            classes=self.plan.dataset.classes).params()  # fmt: skip

    def adopt(self) -> dict[str, Any]:
        """Return which outputs of another study's models belong to which class."""
        study, classes = self.plan.study, self.plan.dataset.classes
        assert study.external is not None  # otherwise the rule does not exist
        return job_settings.AdoptSettings(
            external=study.external, class_map=self.plan.class_outputs, classes=classes
        ).params()

    def predict(self) -> dict[str, Any]:
        return job_settings.PredictSettings(classes=self.plan.dataset.classes, passes=self.plan.study.passes).params()

    def explain(self, arch: str, bundle: str) -> dict[str, Any]:
        study = self.plan.study
        return job_settings.ExplainSettings(
            seed=study.seed,
            classes=self.plan.dataset.classes,
            explain=study.explain,
            passes=study.map_passes,
            copies=study.controls.copies,
            organ=self._organ(bundle),
            methods=self.plan.method_settings(arch, bundle),
            contrast=any(self._declared("contrast", False).values()),
        ).params()

    def _organ(self, bundle: str) -> str:
        return self.plan.dataset.organ if bundle == CONTROLS else ""

    def randomise(self, arch: str, bundle: str) -> dict[str, Any]:
        asked, methods = self.plan.study.randomisation, self.plan.method_settings(arch, bundle)
        assert asked is not None  # otherwise the rule does not exist
        how = {"seed": self.plan.study.seed, "passes": self.plan.study.map_passes, "methods": methods}
        return job_settings.RandomiseSettings(**how, **asked.model_dump(exclude={"bundles"})).params()

    def faithfulness(self, arch: str, bundle: str, battery: str) -> dict[str, Any]:
        """Return metrics and imputers, and the methods too if the battery runs them again."""
        study, asked = self.plan.study, self.plan.study.batteries[battery]
        methods = self.plan.method_settings(arch, bundle)
        again = job_settings.RerunSettings(passes=study.map_passes, organ=self._organ(bundle), methods=methods)
        rerun = again if asked.kind == RERUN_BATTERY else None
        return job_settings.FaithfulnessSettings(
            seed=study.seed, passes=study.passes, metrics=asked.metrics, imputers=asked.imputers, rerun=rerun
        ).params()

    def merge_scores(self) -> dict[str, Any]:
        """Return the scores that each composite combines."""
        return job_settings.MergeScoresSettings(composites=self._composites).params()

    @property
    def _composites(self) -> dict[str, job_settings.CompositeSettings]:
        study = self.plan.study
        return {label: derived_metrics.composite_sources(study, label)[0] for label in study.composite}

    def localization(self) -> dict[str, Any]:
        return job_settings.LocalizationSettings(metrics=self.plan.study.localization).params()

    def agreement(self) -> dict[str, Any]:
        return job_settings.AgreementSettings(seed=self.plan.study.seed, metrics=self.plan.study.agreement).params()

    def across(self) -> dict[str, Any]:
        return derived_metrics.across_settings(self.plan.study).params()

    def _intervals(self) -> dict[str, Any]:
        how = self.plan.study.statistics.model_dump(include={"level", "min_groups"})
        declared = {word: self._declared(word) for word in ("better", "bounds")}
        return how | declared | {"controls": list(self.plan.bundles[CONTROLS])}

    def estimate(self) -> dict[str, Any]:
        kept = {*result_settings.RankSettings.model_fields, "seed_variance"}
        how = self._intervals() | self.plan.study.statistics.model_dump(include=kept)
        how |= {"comparisons": self._comparisons(), "primary": derived_metrics.primary_contrast(self.plan.study)}
        return result_settings.EstimateSettings(**how, classes=self.plan.dataset.classes).params()

    def _comparisons(self) -> result_settings.ComparisonSettings:
        return result_settings.ComparisonSettings(
            bases=method_uses.refined_methods(self.plan.study),
            imputed=[label for group in ("faithfulness", "composite") for label in self.plan.metrics[group]],
            not_across=[label for label, is_own in self._declared("own_scale", False).items() if is_own],
            on_common_grid=list(self.plan.study.localization),
            margins=self.plan.study.statistics.equivalence_margin,
        )

    def meta(self) -> dict[str, Any]:
        """Return the settings of the meta-evaluation; it leaves out metrics that compare models."""
        asked = self.plan.study.meta
        assert asked is not None  # otherwise the rule does not exist
        how = self._intervals() | derived_metrics.judged_settings(self.plan.metrics)
        return result_settings.MetaSettings(**how, **asked.model_dump()).params()

    def claims(self) -> dict[str, Any]:
        """Return the claims, with the architectures, methods and metrics that play the roles in them."""
        claims = claim_tests.tested_claims(self.plan.study, list(self.plan.bundles[CONTROLS]))
        how = self._intervals() | {"min_accuracy": self.plan.study.statistics.claims_min_accuracy}
        return result_settings.ClaimsSettings(**how, claims=claims).params()

    def verdict(self) -> dict[str, Any]:
        gates = derived_metrics.gate_settings(self.plan.study, self.plan.dataset)
        return result_settings.VerdictSettings(**self._intervals(), **gates, methods=self.plan.own_methods).params()

    def figure(self, figure: str) -> dict[str, Any]:
        return result_settings.FigureSettings(**self.plan.figures[figure].model_dump()).params()

    def table(self, table: str) -> dict[str, Any]:
        return result_settings.TableSettings(use=table).params()

    def study_description(self, figure: str = "") -> dict[str, Any]:
        """Return the facts that captions, axes and tables state about the study; the audit figure shows no model."""
        study, plan = self.plan.study, self.plan
        about = result_settings.StudyDescription(
            **self._intervals(), title=study.title or study.study, classes=plan.dataset.classes,
            architectures=plan.architectures, seeds=study.seeds,
            primary=result_settings.PrimaryContrast(**study.primary.model_dump()),
            ranks=result_settings.RankSettings(
                **study.statistics.model_dump(include=set(result_settings.RankSettings.model_fields))
            ),
            metrics={label: use.use for named in plan.metrics.values() for label, use in named.items()},
            refinements=method_uses.refinements(study), evidence=plan.dataset.evidence, of_table=False,
            notes=plan.table_notes,
        )  # fmt: skip
        is_audit = figure and plan.figures[figure].use == AUDIT
        return (about.without_models() if is_audit else about).params()

    def provenance(self) -> dict[str, Any]:
        """Return the study and its dataset's card, every default filled in."""
        unseen = {"compute", "keep", "figures", "tables"}  # they decide no number
        study = self.plan.study.model_dump(mode="json", exclude=unseen)
        return result_settings.ProvenanceSettings(
            study=study, dataset=self.plan.dataset.model_dump(mode="json")
        ).params()

    def code_digest(self, rule: str, *, bundle: str = "", battery: str = "", figure: str = "", table: str = "") -> str:
        """Return the digest of a rule's script, of the numeric files it imports, and of those it loads by name."""
        plugins = self._plugins(rule, bundle, battery, figure, table)
        files = code_digest.plugin_files(registry.entry(group, name) for group, name in plugins)
        rerun = [RERUN_CODE] if battery and self.plan.study.batteries[battery].kind == RERUN_BATTERY else []
        return code_digest.digest_code(SCRIPTS / f"{rule}.py", *files, *rerun)

    def code_digests(self) -> dict[str, str]:
        """Return the digests of all rules that compute numbers, for the provenance of the study."""
        study = self.plan.study
        cells = {f"explain {name}": self.code_digest("explain", bundle=name) for name in self.plan.bundles}
        batteries = dict(self._batteries())
        rules = {path.stem for path in SCRIPTS.glob("*.py")} - NOT_IN_PROVENANCE - PER_PLUGIN
        plain = {rule: self.code_digest(rule) for rule in sorted(rules)}
        cells |= {
            f"randomise {name}": self.code_digest("randomise", bundle=name) for name in self.plan.randomised_bundles
        }
        cells |= {rule: self.code_digest(rule) for rule in ("meta", "claims", "verdict") if getattr(study, rule)}
        models = {} if study.external else {"train": f"recipe version {self.plan.recipe_version}"}
        return plain | cells | batteries | models

    def _batteries(self) -> Iterator[tuple[str, str]]:
        """Yield one digest for all bundles, or one per bundle if the battery runs the methods again."""
        for name, battery in self.plan.study.batteries.items():
            if battery.kind != RERUN_BATTERY:
                yield f"faithfulness {name}", self.code_digest("faithfulness", battery=name)
                continue
            for bundle in self.plan.bundles:
                yield f"faithfulness {name} of {bundle}", self.code_digest("faithfulness", bundle=bundle, battery=name)

    def _plugins(self, rule: str, bundle: str, battery: str, figure: str, table: str) -> list[tuple[str, str]]:
        """Return group and name of the plug-ins that a rule loads."""
        study = self.plan.study
        families = {"localization": ["localization"], "agreement": ["agreement"], "merge_scores": ["composite"]}
        families["across"] = ["agreement", *(["localization"] if "localization" in study.across else [])]
        plugins = [("readers", self.plan.dataset.reader)] if rule in {"group", "index", "audit", "pack_images"} else []
        for family in families.get(rule, ()):
            plugins += [(family, use.use) for use in getattr(study, family).values()]
        if battery:
            plugins += [("faithfulness", use.use) for use in study.batteries[battery].metrics.values()]
            plugins += [("imputers", use.use) for use in study.batteries[battery].imputers.values()]
        if bundle and (not battery or study.batteries[battery].kind == RERUN_BATTERY):
            plugins += self._methods(bundle)
        plugins += [("figures", self.plan.figures[figure].use)] if figure else []
        return plugins + ([("tables", table)] if table else [])

    def _methods(self, bundle: str) -> list[tuple[str, str]]:
        """Return the methods of a bundle, and the methods whose maps they combine."""
        uses = self.plan.bundles[bundle].values()
        inner = {("methods", use.options["of"]) for use in uses if "of" in use.options}
        return [*((use.group, use.use) for use in uses), *sorted(inner)]

    def _declared(self, word: str, default: Any = None) -> dict[str, Any]:
        """Return metric -> what it declares under this word; the agreement with randomised models is no plug-in."""
        randomised = {RANDOMISATION: RANDOMISED_AGREEMENT.get(word, default)} if self.plan.randomised_bundles else {}
        return randomised | {
            label: registry.entry(group, use.use).declared.get(word, default)
            for group, named in self.plan.metrics.items()
            for label, use in named.items()
        }
