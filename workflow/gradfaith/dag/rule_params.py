"""What each rule gets to know: its own slice of the study as plain values, and the digest of the code it computes with.

A slice holds all that decides the rule's numbers and nothing else, so that a change of one key makes stale what that key
decides. How the machine is used (device, chunk, memory) is in no slice: it goes by `resources`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gradfaith import registry
from gradfaith.config import derived_metrics
from gradfaith.dag import code_digest
from gradfaith.dag.plan import AUDIT, CONTROLS, Plan
from gradfaith.data.fetch.release import edited
from gradfaith.metrics.contract import RERUN
from gradfaith.metrics.maps import randomisation

SCRIPTS = registry.PACKAGE.parents[1] / "scripts"
RERUN_CODE = registry.PACKAGE / "attribution/rerun.py"  # loaded by name where methods are run again
CODED = (
    "group", "index", "audit", "gate", "split", "pack", "predict", "explain", "faithfulness", "localization", "agreement", "across",
    "collect", "estimate",
)  # fmt: skip

PASSES = {"precision", "channels_last", "fold_batch_norm"}  # how the network computes, not which images it explains


@dataclass(frozen=True)
class Slices:
    """One method per rule."""

    plan: Plan

    def data(self) -> dict[str, Any]:
        dataset = self.plan.dataset
        return {
            "reader": dataset.reader, "options": dataset.options, "classes": dataset.classes, "raw": dataset.raw,
            "edited": edited(dataset.raw, self.plan.layout.fetched(dataset.name)) if dataset.fetched else "",
        }  # fmt: skip

    def fetch(self) -> dict[str, Any]:
        """The sources in their order; who changes them fetches again."""
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

    def pack(self) -> dict[str, Any]:
        return self.data() | self.plan.study.image.model_dump(include={"size", "fit", "channels", "harmonise"})

    def audit(self) -> dict[str, Any]:
        return self.pack() | {
            "split": self.split(),
            "files": self.plan.dataset.files,
            "claimed": self.plan.dataset.claimed,
            "external": self.plan.study.external or "",
        }

    def gate(self) -> dict[str, Any]:
        return self.plan.study.split.model_dump(include={"by", "leak_limit", "allow_leaky_split"})

    def model(self, arch: str) -> dict[str, Any]:
        """All that decides the weights of an architecture, but the seed."""
        spec, study = self.plan.study.architectures[arch], self.plan.study
        mapped = {"class_map": self.plan.outputs} if self.plan.outputs else {}  # a key that most models never had
        return mapped | {
            "spec": spec.model_dump(exclude={"weights", "layer"}) | {"timm": spec.timm or arch},
            "image": study.image.model_dump(include={"size", "channels", "mean", "std"}),
            "recipe": None if study.training == "none" else study.training.deciding(),
            "classes": self.plan.dataset.classes,
        }

    def adopt(self) -> dict[str, Any]:
        """What another study's models are to answer here."""
        return {
            "external": self.plan.study.external,
            "class_map": self.plan.outputs,
            "classes": self.plan.dataset.classes,
        }

    def bundle(self, arch: str, bundle: str) -> dict[str, Any]:
        study = self.plan.study
        return {
            "seed": study.seed,
            "explain": study.explain.model_dump(exclude=PASSES),
            "passes": study.explain.model_dump(include=PASSES),
            "copies": study.controls.copies,
            "organ": self.plan.dataset.organ if bundle == CONTROLS else "",
            "methods": self.plan.methods(arch, bundle),
        }

    def randomisation(self, arch: str, bundle: str) -> dict[str, Any]:
        asked, explained = self.plan.study.randomisation, self.bundle(arch, bundle)
        assert asked is not None  # else there is no such rule
        how = asked.model_dump(exclude={"bundles"})
        return {key: explained[key] for key in ("seed", "passes", "methods")} | how

    def battery(self, arch: str, bundle: str, battery: str) -> dict[str, Any]:
        """Metrics and imputers; where the methods are run again, the methods, too."""
        asked, explained = self.plan.study.batteries[battery], self.bundle(arch, bundle)
        again = {key: explained[key] for key in ("passes", "organ", "methods")} if asked.kind == RERUN else {}
        return {"seed": self.plan.study.seed} | asked.model_dump() | again

    def composite(self) -> dict[str, Any]:
        """Of which scores each composite is made."""
        return {label: derived_metrics.made_of(self.plan.study, label)[0] for label in self.plan.study.composite}

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
        """How metrics are judged; those that compare models are not."""
        study, asked = self.plan.study, self.plan.study.meta
        assert asked is not None  # else there is no such rule
        judged = [(label, registry.entry(room, use.use).declared) for room, named in self.plan.metrics.items()
                  if room != "agreement" for label, use in named.items()]  # fmt: skip
        return asked.model_dump() | {
            "better": {label: declared["better"] for label, declared in judged},
            "order_only": [label for label, declared in judged if "monotone" in declared.get("invariances", ())],
            "controls": list(self.plan.bundles[CONTROLS]),
            "level": study.statistics.level,
            "min_groups": study.statistics.min_groups,
        }

    def _primary_variant(self) -> str:
        """What is primary among a metric's variants: the first imputer of its battery, all pairs, the first threshold."""
        study = self.plan.study
        if study.primary.metric in study.localization:
            use = study.localization[study.primary.metric]
            option = registry.entry("localization", use.use).declared.get("variants")
            return str(use.options[option][0]) if option else ""
        if study.primary.metric in study.composite:
            return str(self.composite()[study.primary.metric]["variants"][0])
        for battery in study.batteries.values():
            if study.primary.metric in battery.metrics:
                declared = registry.entry("faithfulness", battery.metrics[study.primary.metric].use).declared
                return next(iter(battery.imputers)) if declared.get("imputed", True) else ""
        return "pairs" if study.primary.metric in study.agreement else ""

    def figure(self, figure: str) -> dict[str, Any]:
        return self.plan.figures[figure].model_dump()

    def about(self, figure: str = "") -> dict[str, Any]:
        """What captions and axes say of the study; the audit's page knows no model."""
        study = self.plan.study
        unseen: dict[str, Any] = {
            "architectures": [],
            "seeds": [],
            "controls": [],
            "primary": {},
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
            "better": self._better(),
            "evidence": self.plan.dataset.evidence,
            "notes": self.plan.notes,
        }
        return about | unseen if figure and self.plan.figures[figure].use == AUDIT else about

    def whole(self) -> dict[str, Any]:
        """The study and its dataset's card, every default filled in."""
        unseen = {"compute", "keep", "figures"}  # they make no number
        return {
            "study": self.plan.study.model_dump(mode="json", exclude=unseen),
            "dataset": self.plan.dataset.model_dump(mode="json"),
        }

    def code(self, rule: str, *, bundle: str = "", battery: str = "", figure: str = "") -> str:
        """The digest of a rule's script, of the numeric files it reaches, and of those it loads by name."""
        files = [registry.entry(room, name).path for room, name in self._named(rule, bundle, battery, figure)]
        again = [RERUN_CODE] if battery and self.plan.study.batteries[battery].kind == RERUN else []
        return code_digest.code(SCRIPTS / f"{rule}.py", *files, *again)

    def codes(self) -> dict[str, str]:
        """The digests of all rules that make numbers."""
        study = self.plan.study
        cells = {f"explain {name}": self.code("explain", bundle=name) for name in self.plan.bundles}
        batteries = dict(self._batteries())
        plain = {rule: self.code(rule) for rule in CODED if rule not in {"explain", "faithfulness"}}
        cells |= {f"randomise {name}": self.code("randomise", bundle=name) for name in self.plan.randomised}
        cells |= {"meta": self.code("meta")} if study.meta else {}
        models = {} if study.external else {"train": f"recipe version {self.plan.recipe_version}"}
        return plain | cells | batteries | models

    def _batteries(self) -> Iterator[tuple[str, str]]:
        """One digest for all bundles, but where their methods are run again."""
        for name, battery in self.plan.study.batteries.items():
            if battery.kind != RERUN:
                yield f"faithfulness {name}", self.code("faithfulness", battery=name)
                continue
            for bundle in self.plan.bundles:
                yield f"faithfulness {name} of {bundle}", self.code("faithfulness", bundle=bundle, battery=name)

    def _named(self, rule: str, bundle: str, battery: str, figure: str) -> list[tuple[str, str]]:
        study = self.plan.study
        if rule in {"group", "index", "audit", "pack"}:
            return [("readers", self.plan.dataset.reader)]
        if rule in {"localization", "agreement", "across"}:
            family = "agreement" if rule == "across" else rule
            return [(family, use.use) for use in getattr(study, family).values()]
        if rule == "collect":
            return [("composite", use.use) for use in study.composite.values()]
        if battery:
            asked = study.batteries[battery]
            named = [("faithfulness", use.use) for use in asked.metrics.values()]
            named += [("imputers", use.use) for use in asked.imputers.values()]
            return named + (self._methods(bundle) if asked.kind == RERUN else [])
        if bundle:
            return self._methods(bundle)
        return [("figures", self.plan.figures[figure].use)] if figure else []

    def _methods(self, bundle: str) -> list[tuple[str, str]]:
        """Of a bundle, and those whose maps they combine."""
        uses = self.plan.bundles[bundle].values()
        inner = {("methods", use["options"]["of"]) for use in uses if "of" in use["options"]}
        return [*((use["room"], use["use"]) for use in uses), *sorted(inner)]

    def _better(self) -> dict[str, str]:
        randomised = {randomisation.NAME: randomisation.METRIC.better} if self.plan.randomised else {}
        return randomised | {
            label: registry.entry(room, use.use).declared["better"]
            for room, named in self.plan.metrics.items()
            for label, use in named.items()
        }


def _plain(named: Mapping[str, Any]) -> dict[str, Any]:
    return {label: use.model_dump() for label, use in named.items()}
