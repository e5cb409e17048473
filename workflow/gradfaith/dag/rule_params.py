"""The `params` of each rule: the part of the study that decides its numbers, and the digest of the code that computes them.

The settings of a rule hold all that decides its numbers and nothing else, so that a change of one key makes stale what that
key decides. How the machine is used is in no params: scripts read the study's `compute` section, which makes nothing stale.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradfaith import registry
from gradfaith.config import derived_metrics
from gradfaith.dag import code_digest
from gradfaith.dag.plan import AUDIT, CONTROLS, Plan
from gradfaith.data import raw_files
from gradfaith.storage import paths
from gradfaith.storage.paths import PROJECT
from gradfaith.vocabulary import RANDOMISATION, RERUN_BATTERY, SEED_PAIRS

SCRIPTS = PROJECT / "scripts"
RERUN_CODE = code_digest.module_file("attribution.rerun")  # loaded by name where methods are run again
NOT_IN_PROVENANCE = frozenset(
    ["fetch", "list_raw", "weights", "adopt", "train", "figure", "table", "provenance"]
)  # scripts that make no scores
PER_PLUGIN = {"explain", "faithfulness", "randomise", "meta"}  # several digests, or only in some studies

PASSES = {"precision", "channels_last", "fold_batch_norm"}  # how the network computes, not which images it explains


@dataclass(frozen=True)
class RuleParams:
    """Make the `params` of the rules: a method called like the rule; of localization and agreement, `metrics`."""

    plan: Plan

    def data(self) -> dict[str, Any]:
        """Return how the dataset is read; where its folder lies decides nothing."""
        dataset = self.plan.dataset
        return {
            "name": dataset.name,
            "reader": dataset.reader,
            "options": dataset.options,
            "classes": dataset.classes,
            "private": dataset.private,
        }

    def raw_content(self) -> str:
        """Return a digest of the raw files that the reader reads; of fetched ones, of what was edited since."""
        dataset, record = self.plan.dataset, Path(self.plan.paths.fetched(self.plan.dataset.name))
        if dataset.raw is None or (dataset.fetched and not record.is_file()):
            return ""
        raw = raw_files.open_raw(self.data(), dataset.raw)
        if dataset.fetched:
            return raw_files.edits_digest(raw, record)
        return raw_files.listing_digest(raw_files.list_files(raw, paths.raw_digests(dataset.name)))

    def fetch(self) -> dict[str, Any]:
        """Return the sources in their order."""
        dataset = self.plan.dataset
        return {"sources": [source.model_dump(exclude_none=True) for source in dataset.sources], "files": dataset.files}

    def group(self) -> dict[str, Any]:
        how = self.plan.dataset.groups
        return self.data() | {"groups": how.model_dump() if how else {}}

    def index(self) -> dict[str, Any]:
        return self.data() | {"max_bad_files": self.plan.study.dataset.max_bad_files}

    def split(self) -> dict[str, Any]:
        study = self.plan.study
        asked = study.split.model_dump(exclude={"leak_limit", "allow_leaky_split"})
        return asked | {"seed": self._split_seed(), "classes": self.plan.dataset.classes}

    def _split_seed(self) -> int:
        own = self.plan.study.split.seed
        return self.plan.study.seed if own is None else own

    def pack_images(self) -> dict[str, Any]:
        return self.data() | self.plan.study.image.model_dump(include={"size", "fit", "channels", "harmonise"})

    def audit(self) -> dict[str, Any]:
        return self.pack_images() | {
            "split": self.split(),
            "files": self.plan.dataset.files,
            "claimed": self.plan.dataset.claimed,
            "external": self.plan.study.external or "",
        }

    def leakage_check(self) -> dict[str, Any]:
        return self.plan.study.split.model_dump(include={"by", "leak_limit", "allow_leaky_split"})

    def train(self, arch: str) -> dict[str, Any]:
        """Return all that decides the weights of an architecture, except the seed."""
        spec, study = self.plan.study.architectures[arch], self.plan.study
        mapped = (
            {"class_map": self.plan.class_outputs} if self.plan.class_outputs else {}
        )  # a key that most models never had
        return mapped | {
            "spec": spec.model_dump(exclude={"weights", "layer"}) | {"timm": spec.timm or arch},
            "image": study.image.model_dump(include={"size", "channels", "mean", "std"}),
            "recipe": None if study.training == "none" else study.training.deciding(),
            "classes": self.plan.dataset.classes,
        }

    def adopt(self) -> dict[str, Any]:
        """Return which outputs of another study's models stand for which class."""
        return {
            "external": self.plan.study.external,
            "class_map": self.plan.class_outputs,
            "classes": self.plan.dataset.classes,
        }

    def explain(self, arch: str, bundle: str) -> dict[str, Any]:
        study = self.plan.study
        return {
            "seed": study.seed,
            "explain": study.explain.model_dump(exclude=PASSES),
            "passes": study.explain.model_dump(include=PASSES),
            "copies": study.controls.copies,
            "organ": self.plan.dataset.organ if bundle == CONTROLS else "",
            "methods": self.plan.method_settings(arch, bundle),
        }

    def randomise(self, arch: str, bundle: str) -> dict[str, Any]:
        asked, explained = self.plan.study.randomisation, self.explain(arch, bundle)
        assert asked is not None  # else there is no such rule
        how = asked.model_dump(exclude={"bundles"})
        return {key: explained[key] for key in ("seed", "passes", "methods")} | how

    def faithfulness(self, arch: str, bundle: str, battery: str) -> dict[str, Any]:
        """Return metrics and imputers; for a battery that runs the methods again, the methods, too."""
        asked, explained = self.plan.study.batteries[battery], self.explain(arch, bundle)
        again = {key: explained[key] for key in ("passes", "organ", "methods")} if asked.kind == RERUN_BATTERY else {}
        return {"seed": self.plan.study.seed} | asked.model_dump() | again

    def merge_scores(self) -> dict[str, Any]:
        """Return which scores each composite is made of."""
        return {
            label: derived_metrics.composite_sources(self.plan.study, label)[0] for label in self.plan.study.composite
        }

    def metrics(self, family: str) -> dict[str, Any]:
        return {"seed": self.plan.study.seed, "metrics": _plain(getattr(self.plan.study, family))}

    def across(self) -> dict[str, Any]:
        return self.metrics("agreement") | {"across": self.plan.study.across}

    def estimate(self) -> dict[str, Any]:
        study = self.plan.study
        primary = study.primary.model_dump() | {"variant": self._primary_variant()}
        controls = list(self.plan.bundles[CONTROLS])
        return study.statistics.model_dump() | {"primary": primary, "better": self._better(), "controls": controls}

    def meta(self) -> dict[str, Any]:
        """Return how metrics are judged; those that compare models are not."""
        study, asked = self.plan.study, self.plan.study.meta
        assert asked is not None  # else there is no such rule
        judged = [(label, registry.entry(group, use.use).declared) for group, named in self.plan.metrics.items()
                  if group != "agreement" for label, use in named.items()]  # fmt: skip
        return asked.model_dump() | {
            "better": {label: declared["better"] for label, declared in judged},
            "order_only": [label for label, declared in judged if "monotone" in declared.get("invariances", ())],
            "controls": list(self.plan.bundles[CONTROLS]),
            "level": study.statistics.level,
            "min_groups": study.statistics.min_groups,
        }

    def _primary_variant(self) -> str:
        """Return the primary variant of the primary metric: its battery's first imputer, all pairs, or the first threshold."""
        study = self.plan.study
        if study.primary.metric in study.localization:
            use = study.localization[study.primary.metric]
            option = registry.entry("localization", use.use).declared.get("variants")
            return str(use.options[option][0]) if option else ""
        if study.primary.metric in study.composite:
            return str(self.merge_scores()[study.primary.metric]["variants"][0])
        for battery in study.batteries.values():
            if study.primary.metric in battery.metrics:
                declared = registry.entry("faithfulness", battery.metrics[study.primary.metric].use).declared
                return next(iter(battery.imputers)) if declared.get("imputed", True) else ""
        return SEED_PAIRS if study.primary.metric in study.agreement else ""

    def figure(self, figure: str) -> dict[str, Any]:
        return self.plan.figures[figure].model_dump()

    def study_description(self, figure: str = "") -> dict[str, Any]:
        """Return what captions, axes and tables say of the study; the audit's page shows no model."""
        study = self.plan.study
        unseen: dict[str, Any] = {
            "architectures": [],
            "seeds": [],
            "controls": [],
            "primary": {},
            "metrics": {},
            "better": {},
            "notes": [],
        }
        about = {
            "title": study.title or study.study,
            "classes": self.plan.dataset.classes,
            "architectures": self.plan.architectures,
            "seeds": study.seeds,
            "controls": list(self.plan.bundles[CONTROLS]),
            "primary": study.primary.model_dump(),
            "level": study.statistics.level,
            "min_groups": study.statistics.min_groups,
            "ranks": study.statistics.model_dump(include={"rank_controls", "rank_only_correct"}),
            "metrics": {label: use.use for named in self.plan.metrics.values() for label, use in named.items()},
            "better": self._better(),
            "evidence": self.plan.dataset.evidence,
            "notes": self.plan.table_notes,
        }
        return about | unseen if figure and self.plan.figures[figure].use == AUDIT else about

    def provenance(self) -> dict[str, Any]:
        """Return the study and its dataset's card, every default filled in."""
        unseen = {"compute", "keep", "figures"}  # they make no number
        return {
            "study": self.plan.study.model_dump(mode="json", exclude=unseen),
            "dataset": self.plan.dataset.model_dump(mode="json"),
        }

    def code_digest(self, rule: str, *, bundle: str = "", battery: str = "", figure: str = "", table: str = "") -> str:
        """Return the digest of a rule's script, of the numeric files it reaches, and of those it loads by name."""
        plugins = self._plugins(rule, bundle, battery, figure, table)
        files = code_digest.plugin_files(registry.entry(group, name) for group, name in plugins)
        rerun = [RERUN_CODE] if battery and self.plan.study.batteries[battery].kind == RERUN_BATTERY else []
        return code_digest.digest_code(SCRIPTS / f"{rule}.py", *files, *rerun)

    def code_digests(self) -> dict[str, str]:
        """Return the digests of all rules that make numbers, for the provenance of the study."""
        study = self.plan.study
        cells = {f"explain {name}": self.code_digest("explain", bundle=name) for name in self.plan.bundles}
        batteries = dict(self._batteries())
        rules = {path.stem for path in SCRIPTS.glob("*.py")} - NOT_IN_PROVENANCE - PER_PLUGIN
        plain = {rule: self.code_digest(rule) for rule in sorted(rules)}
        cells |= {
            f"randomise {name}": self.code_digest("randomise", bundle=name) for name in self.plan.randomised_bundles
        }
        cells |= {"meta": self.code_digest("meta")} if study.meta else {}
        models = {} if study.external else {"train": f"recipe version {self.plan.recipe_version}"}
        return plain | cells | batteries | models

    def _batteries(self) -> Iterator[tuple[str, str]]:
        """Yield one digest for all bundles, or one for each bundle where the battery runs its methods again."""
        for name, battery in self.plan.study.batteries.items():
            if battery.kind != RERUN_BATTERY:
                yield f"faithfulness {name}", self.code_digest("faithfulness", battery=name)
                continue
            for bundle in self.plan.bundles:
                yield f"faithfulness {name} of {bundle}", self.code_digest("faithfulness", bundle=bundle, battery=name)

    def _plugins(self, rule: str, bundle: str, battery: str, figure: str, table: str) -> list[tuple[str, str]]:
        """Return group and name of the plug-ins that a rule loads."""
        study = self.plan.study
        families = {
            "localization": "localization",
            "agreement": "agreement",
            "across": "agreement",
            "merge_scores": "composite",
        }
        plugins = [("readers", self.plan.dataset.reader)] if rule in {"group", "index", "audit", "pack_images"} else []
        if rule in families:
            plugins += [(families[rule], use.use) for use in getattr(study, families[rule]).values()]
        if battery:
            plugins += [("faithfulness", use.use) for use in study.batteries[battery].metrics.values()]
            plugins += [("imputers", use.use) for use in study.batteries[battery].imputers.values()]
        if bundle and (not battery or study.batteries[battery].kind == RERUN_BATTERY):
            plugins += self._methods(bundle)
        plugins += [("figures", self.plan.figures[figure].use)] if figure else []
        return plugins + ([("tables", table)] if table else [])

    def _methods(self, bundle: str) -> list[tuple[str, str]]:
        """Return the methods of a bundle, and those whose maps they combine."""
        uses = self.plan.bundles[bundle].values()
        inner = {("methods", use["options"]["of"]) for use in uses if "of" in use["options"]}
        return [*((use["group"], use["use"]) for use in uses), *sorted(inner)]

    def _better(self) -> dict[str, str]:
        randomised = {RANDOMISATION: "lower"} if self.plan.randomised_bundles else {}
        return randomised | {
            label: registry.entry(group, use.use).declared["better"]
            for group, named in self.plan.metrics.items()
            for label, use in named.items()
        }


def _plain(named: Mapping[str, Any]) -> dict[str, Any]:
    return {label: use.model_dump() for label, use in named.items()}
