"""Plan a study of tables: its files, its cells, and the `params` of its rules.

`TablePlan` and `TableRuleParams` have what rules/results.smk reads, so results are made as in studies of images; without torch.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gradfaith import registry
from gradfaith.config import result_settings, tabular
from gradfaith.config.dataset import Source
from gradfaith.config.job_settings import FetchSettings, MergeScoresSettings
from gradfaith.config.study import PluginUse
from gradfaith.config.tabular import CONTROLS, TabularStudy
from gradfaith.config.validation_errors import invalid_study
from gradfaith.config.verdict import GATES, MIN_SEEDS
from gradfaith.dag import code_digest
from gradfaith.errors import BrokenPlugin
from gradfaith.storage.paths import PROJECT, StudyPaths
from gradfaith.vocabulary import BINARY, QUARTERS, SEED_PAIRS

SCRIPTS = PROJECT / "scripts"
RULES = ("table_index", "merge_scores", "estimate")  # and those that have a digest per model
NO_TABLE = ("pairs", "summary")  # `summary_of_rows` is the first page


@dataclass(frozen=True)
class TablePlan:
    """A study of tables with everything that the rules need."""

    study: TabularStudy

    @classmethod
    def read(cls, document: Mapping[str, Any], root: Path, where: str = "the study") -> "TablePlan":  # noqa: ARG003 - as of Plan
        """Check the document of a study."""
        try:
            return cls(TabularStudy.model_validate(dict(document)))
        except ValidationError as error:
            raise invalid_study(where, error, TabularStudy) from None

    @property
    def paths(self) -> StudyPaths:
        """Return where the study's files are."""
        return StudyPaths(self.study.study, self.study.study, self.study.study)

    @property
    def architectures(self) -> list[str]:
        """Return the labels of the models; files and tables call them architectures."""
        return list(self.study.models)

    @property
    def classes(self) -> list[str]:
        """Return the classes of the rows: of a regression, quarters of the target."""
        return list(BINARY if self.study.table.task == "classification" else QUARTERS)

    @property
    def sources(self) -> list[Source]:
        """Return where the table's files come from, in their order."""
        declared = registry.entry("table_sources", self.study.table.source).declared
        return [Source(**source) for source in declared.get("sources", ())]

    def raw_inputs(self) -> list[str]:
        """Return the input files of the table: one's own file, or the record of the fetched ones."""
        own = str(self.study.table.options.get("file") or "")
        return [self.paths.fetched(self.study.table.source)] if self.sources else [own] * bool(own)

    @property
    def figures(self) -> dict[str, PluginUse]:
        """Return the study's figures."""
        return dict(self.study.figures)

    @property
    def tables(self) -> list[str]:
        """Return the names of the tables that this study has."""
        declared = {name: entry.declared for name, entry in registry.entries("tables").items()}
        kept = {name: what.get("study_key") for name, what in declared.items() if not what.get("optional")}
        return [
            name
            for name, key in kept.items()
            if name not in NO_TABLE and (key is None or getattr(self.study, key, None))
        ]

    def per_model(self, path: str) -> list[str]:
        """Return one path per model and seed."""
        return [path.format(arch=arch, seed=seed) for arch in self.architectures for seed in self.study.seeds]

    def score_tables(self) -> list[str]:
        """Return every table of scores that is merged."""
        return [self.paths.of_table("table_scores").format(arch=arch) for arch in self.architectures]

    def report_inputs(self, group: str, name: str) -> dict[str, str | list[str]]:
        """Return need -> files for the declared needs of a figure or table."""
        paths = self.paths
        offered: dict[str, str | list[str]] = {
            "estimates": paths.estimates, "contrasts": paths.contrasts, "ranks": paths.ranks, "scores": paths.scores,
            "classification": paths.classification, "predictions": self.per_model(paths.predictions),
            "manifest": paths.manifest, "splits": paths.splits, "audit": paths.audit,
            "verdict": paths.verdict if self.study.verdict else [], "table": paths.of_table("table"),
            "attributions": self.per_model(paths.of_table("attributions")), "boundary": self.per_model(paths.of_table("boundary")),
        }  # fmt: skip
        plugin = registry.entry(group, name)
        if unknown := [need for need in plugin.declared["needs"] if need not in offered]:
            raise BrokenPlugin(
                problem=f"{name} needs {', '.join(unknown)}, which a study of tables does not have.",
                reason=f"It has {', '.join(offered)}.",
                fix=f"Remove {name} from `figures:`; docs/tabular.md lists the figures for tables.",
            )
        return {need: offered[need] for need in plugin.declared["needs"]}


@dataclass(frozen=True)
class TableRuleParams:
    """Makes the `params` of the rules of a study of tables: one method per rule, of the same name."""

    plan: TablePlan

    def fetch(self) -> dict[str, Any]:
        return FetchSettings(sources=self.plan.sources, files="").params()

    def table_index(self) -> dict[str, Any]:
        table = self.plan.study.table
        how = table.model_dump(include={"source", "options", "task", "positive", "keep"})
        return tabular.TableIndexSettings(**how, split=self.plan.study.split, seed=self.plan.study.seed).params()

    def raw_content(self) -> str:
        """Return a digest of one's own file, so that a changed file is read again, and a touched one is not."""
        own = Path(str(self.plan.study.table.options.get("file") or ""))
        return hashlib.sha256(own.read_bytes()).hexdigest() if own.is_file() else ""

    def table_train(self, arch: str) -> dict[str, Any]:
        study = self.plan.study
        return tabular.TableTrainSettings(model=study.models[arch], task=study.table.task).params()

    def table_explain(self) -> dict[str, Any]:
        study = self.plan.study
        return tabular.TableExplainSettings(
            methods=self._methods, explain=study.explain, task=study.table.task, seed=study.seed
        ).params()

    @property
    def _methods(self) -> dict[str, PluginUse]:
        return dict(self.plan.study.methods) | {name: PluginUse(use=name) for name in CONTROLS}

    def table_scores(self) -> dict[str, Any]:
        study = self.plan.study
        how = study.model_dump(include={"metrics", "imputers", "seed"})
        return tabular.TableScoreSettings(
            **how, exact=study.exact, additive=study.additive, score=study.explain.score, task=study.table.task
        ).params()

    def merge_scores(self) -> dict[str, Any]:
        return MergeScoresSettings(composites={}).params()

    def _declared(self, word: str) -> dict[str, Any]:
        uses = self.plan.study.metrics.items()
        return {label: registry.entry("table_metrics", use.use).declared[word] for label, use in uses}

    def _intervals(self) -> dict[str, Any]:
        how = self.plan.study.statistics.model_dump(include={"level", "min_groups"})
        return how | {word: self._declared(word) for word in ("better", "bounds")} | {"controls": list(CONTROLS)}

    def _variant(self, metric: str) -> str:
        """Return the primary variant of a metric."""
        declared = registry.entry("table_metrics", self.plan.study.metrics[metric].use).declared
        return (
            self.plan.study.imputers[0]
            if declared.get("imputed")
            else SEED_PAIRS
            if declared.get("between") == "models"
            else ""
        )

    def estimate(self) -> dict[str, Any]:
        study = self.plan.study
        kept = {*result_settings.RankSettings.model_fields, "seed_variance"}
        declared = {label: registry.entry("table_metrics", use.use).declared for label, use in study.metrics.items()}
        comparisons = result_settings.ComparisonSettings(
            bases={}, imputed=[label for label, what in declared.items() if what.get("imputed")], on_common_grid=[],
            not_across=[label for label, what in declared.items() if what["bounds"][1] is None],
            margins=study.statistics.equivalence_margin,
        )  # fmt: skip
        primary = study.primary.model_dump() | {
            "variant": self._variant(study.primary.metric),
            "architectures": len(study.models),
        }
        how = self._intervals() | study.statistics.model_dump(include=kept)
        return result_settings.EstimateSettings(
            **how, comparisons=comparisons, primary=primary, classes=self.plan.classes
        ).params()

    def verdict(self) -> dict[str, Any]:
        """Return the gates of a table: what studies of images test, as far as it applies."""
        study = self.plan.study
        assert study.verdict  # otherwise the rule does not exist
        first = {use.use: label for label, use in reversed(study.metrics.items())}
        classification = study.table.task == "classification"
        metrics = {
            "balanced_accuracy": "balanced_accuracy" if classification else "",
            "localization": first.get("truth_auc", "") if study.table.source == "census" else "",
            "faith_gain": first.get("removal_gap", ""),
            "consistency": first.get("seed_agreement", "") if len(study.seeds) >= MIN_SEEDS else "",
        }
        why = {
            "balanced_accuracy": "a regression has no classes",
            "localization": "the features that the answer needs are not known",
            "faith_gain": "the study does not measure the removal gap",
            "randomisation": "a study of tables randomises no model",
            "consistency": f"this gate needs the metric seed_agreement and {MIN_SEEDS} seeds; the study has {len(study.seeds)}",
            "shortcut_lift": "no known shortcut",
        }
        margins = study.verdict.model_dump(include=set(GATES))
        halfway = (1 + 1 / len(self.plan.classes)) / 2
        margins |= {"balanced_accuracy": halfway} if margins["balanced_accuracy"] is None else {}
        return result_settings.VerdictSettings(
            **self._intervals(),
            methods={arch: self._methods_on(arch) for arch in self.plan.architectures},
            classes=self.plan.classes,
            margins=margins,
            metrics={gate: metric for gate, metric in metrics.items() if metric},
            localization_variant="",
            untested={gate: reason for gate, reason in why.items() if not metrics.get(gate)},
        ).params()

    def _methods_on(self, arch: str) -> list[str]:
        """Return the methods that read nothing of a model that this one does not have."""
        inside = registry.entry("table_models", self.plan.study.models[arch].use).declared.get("inside", "nothing")
        needs = {
            label: registry.entry("table_methods", use.use).declared.get("inside", "")
            for label, use in self.plan.study.methods.items()
        }
        return [label for label, need in needs.items() if need in {"", inside}]

    def figure(self, figure: str) -> dict[str, Any]:
        return result_settings.FigureSettings(**self.plan.figures[figure].model_dump()).params()

    def table(self, table: str) -> dict[str, Any]:
        return result_settings.TableSettings(use=table).params()

    def study_description(self, figure: str = "") -> dict[str, Any]:  # noqa: ARG002 - as of RuleParams
        """Return the facts that captions, axes and tables state about the study."""
        study = self.plan.study
        ranks = study.statistics.model_dump(include=set(result_settings.RankSettings.model_fields))
        return result_settings.StudyDescription(
            **self._intervals(),
            title=study.title or study.study,
            classes=self.plan.classes,
            architectures=self.plan.architectures,
            seeds=study.seeds,
            primary=result_settings.PrimaryContrast(**study.primary.model_dump()),
            ranks=result_settings.RankSettings(**ranks),
            metrics={label: use.use for label, use in study.metrics.items()},
            refinements={}, evidence="none", of_table=True, notes=[],
        ).params()  # fmt: skip

    def provenance(self) -> dict[str, Any]:
        """Return the study with every default filled in."""
        study = self.plan.study.model_dump(mode="json", exclude={"compute", "figures"})
        return result_settings.ProvenanceSettings(study=study, dataset=study["table"]).params()

    def code_digest(self, rule: str, *, arch: str = "", figure: str = "", table: str = "") -> str:
        """Return the digest of a rule's script, of the numeric files it imports, and of the plug-ins that it loads by name."""
        study, plugins = self.plan.study, list[tuple[str, str]]()
        if rule == "table_index":
            plugins.append(("table_sources", study.table.source))
        if arch:
            plugins.append(("table_models", study.models[arch].use))
        if rule == "table_explain":
            plugins += [("table_methods", use.use) for use in self._methods.values()]
        if rule == "table_scores":
            plugins += [("table_metrics", use.use) for use in study.metrics.values()]
        plugins += [("figures", self.plan.figures[figure].use)] if figure else []
        plugins += [("tables", table)] if table else []
        files = code_digest.plugin_files(registry.entry(group, name) for group, name in plugins)
        return code_digest.digest_code(SCRIPTS / f"{rule}.py", *files)

    def code_digests(self) -> dict[str, str]:
        """Return the digests of all rules that compute numbers."""
        cells = product(("table_train", "table_explain", "table_scores"), self.plan.architectures)
        found = {rule: self.code_digest(rule) for rule in RULES}
        return found | {f"{rule} {arch}": self.code_digest(rule, arch=arch) for rule, arch in cells}
