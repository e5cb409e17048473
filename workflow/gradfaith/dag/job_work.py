"""Count the work of a job, so that the measured seconds of one job can be scaled to another of the same rule.

    training        epochs x (3 x training images + validation images)            a backward costs about two forwards
    maps            images x (1 + passes of every method of the bundle)           as declared in their files
    faithfulness    images x maps x forwards of every metric x imputers
    randomisation   images x steps x orders x (1 + passes)
    agreement       images x maps x pairs of seeds
    other           images, maps or scores, depending on the rule; 1 for rules without a count

If a rule reads pixels, its count is multiplied by the pixels of one image. Counts are proportional to the work,
but not exact: methods share passes, metrics share modified images, and attention grows faster than the number of
pixels. They are compared within one rule only. Scripts record the count of a finished job (`recorder`);
`gradfaith cost` computes the counts of the remaining jobs.
"""

import contextlib
import csv
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import comb, prod
from pathlib import Path
from typing import Any

from gradfaith import registry
from gradfaith.config.job_settings import MethodSettings
from gradfaith.dag.plan import Plan
from gradfaith.runtime.job_record import JobRecorder, JobWork, RunningJob
from gradfaith.storage import parquet
from gradfaith.storage.paths import PROJECT
from gradfaith.vocabulary import CONTRAST_ROLES, TABLE

DEFAULT_PASSES = 512  # of a method with one pass per channel, or with a number that its options do not give
RULES_PER_PLUGIN = ("figure", "table")  # every figure and table has its own rule, named after it
RULES_OF_TABLES = ("table_index", "table_train", "table_explain", "table_scores")  # not of a table of results
UNCOUNTED = JobWork(units=1, amount=1)
UNKNOWN = JobWork(units=0, amount=0)  # cannot be used for scaling


@dataclass(frozen=True)
class ImageCounts:
    """The number of images in each part of the split, and of explained images."""

    train: float
    val: float
    test: float
    explained: float

    @property
    def images(self) -> float:
        return self.train + self.val + self.test


def recorder(job: RunningJob) -> JobRecorder:
    """Start measuring a job. Calling the returned object at the job's end writes the record."""
    return JobRecorder(job, work_of_finished)


def work_of_finished(job: RunningJob) -> JobWork:
    """Return the work of a finished job; for a training, of the epochs in its history."""
    if rule_family(job.rule) in RULES_PER_PLUGIN:
        return replace(UNCOUNTED, kind=job.rule)
    if TABLE in job.config:
        return replace(UNCOUNTED, kind=job.rule)  # rules that only studies of tables have: dag/table_work.py
    plan = Plan.read(job.config, PROJECT)
    counts = count_images(plan)
    if counts is None:
        return UNKNOWN
    work = StudyWork(plan, counts, read_parameters(plan)).of(job.rule, dict(job.wildcards.items()))
    return _work_of_epochs(plan, job, work) if job.rule == "train" else work


def rule_family(rule: str) -> str:
    """Return the family of a rule: "figure" for `figure_panels`, else the rule itself."""
    if rule in RULES_OF_TABLES:
        return rule
    return next((name for name in RULES_PER_PLUGIN if rule.startswith(f"{name}_")), rule)


def count_images(plan: Plan, images: int | None = None) -> ImageCounts | None:
    """Count images from the split if it exists, else from the study's shares; None if their number is unknown.

    `images`: the expected number, if there is no split yet.
    """
    split, study = Path(plan.paths.splits), plan.study
    if split.is_file():
        counted = parquet.read(split, parquet.SPLITS)["part"].value_counts()
        parts = {part: float(counted.get(part, 0)) for part in ("train", "val", "test")}
    else:
        total = images or _count_unsplit_images(plan)
        if total is None:
            return None
        shares = {"train": study.split.train, "val": study.split.val, "test": study.split.test}
        parts = {part: share * total for part, share in shares.items()}
    explained = sum(parts[part] for part in study.explain.parts)
    return ImageCounts(**parts, explained=min(explained, study.explain.max_images or explained))


def _count_unsplit_images(plan: Plan) -> int | None:
    """Return the number of images of a dataset that is not split yet; None if it is unknown."""
    dataset = plan.dataset
    for table, schema in ((plan.paths.manifest, parquet.MANIFEST), (plan.paths.groups, parquet.GROUPS)):
        if Path(table).is_file():
            return len(parquet.read(table, schema))
    if dataset.files and Path(dataset.files).is_file():
        return len(Path(dataset.files).read_text(encoding="utf-8").splitlines()) - 1
    for keys in (
        ("patients_per_class", "slices_per_patient"),
        ("cuts",),
        ("backgrounds", "images_per_class"),
    ):  # of readers that compute their images
        drawn = [dataset.options.get(key) for key in keys]
        if all(isinstance(count, int) for count in drawn):
            return len(dataset.classes) * prod(map(int, filter(None, drawn)))
    return None


@dataclass(frozen=True)
class StudyWork:
    """Counts the work of every job of one study."""

    plan: Plan
    counts: ImageCounts
    parameters: Mapping[str, int] = field(default_factory=dict)  # of each architecture of which it is known

    def of(self, rule: str, wildcards: Mapping[str, str]) -> JobWork:
        """Return the work of one job, given its rule and wildcards."""
        family, arch, bundle = rule_family(rule), wildcards.get("arch", ""), wildcards.get("bundle", "")
        n, side = self.counts.images, self.plan.study.image.size
        counted: dict[str, Callable[[], JobWork]] = {
            "fetch": lambda: JobWork(n, n, kind=self.plan.dataset.name),
            "weights": lambda: replace(UNCOUNTED, network=wildcards["timm"]),
            "packaged_weights": lambda: replace(UNCOUNTED, network=wildcards["package"]),
            "list_raw": lambda: JobWork(n, n, kind=self.plan.dataset.name),
            "group": lambda: JobWork(n, n),
            "index": lambda: JobWork(n, n),
            "split": lambda: JobWork(n, n),
            "pack_images": lambda: self._pixels(n, n * side**2),
            "audit": lambda: self._pixels(n, n),
            "train": lambda: self._train(arch),
            "adopt": lambda: replace(UNCOUNTED, network=self._network(arch)),
            "predict": lambda: self._pixels(n, n, arch),
            "explain": lambda: self._explain(arch, bundle),
            "faithfulness": lambda: self._faithfulness(arch, bundle, wildcards["battery"]),
            "randomise": lambda: self._randomise(arch, bundle),
            "localization": lambda: self._localization(arch),
            "agreement": lambda: self._agreement(arch),
            "across": self._across,
            "merge_scores": self._rows_of_scores,
            "estimate": self._rows_of_scores,
            "meta": self._rows_of_scores,
            "claims": self._rows_of_scores,
            "figure": lambda: replace(UNCOUNTED, kind=rule),
            "table": lambda: replace(UNCOUNTED, kind=rule),
        }
        work = counted[family]() if family in counted else UNCOUNTED
        return replace(work, parameters=self.parameters.get(arch, 0)) if work.network else work

    def _network(self, arch: str) -> str:
        return self.plan.study.architectures[arch].network(arch)

    def _pixels(self, units: float, amount: float, arch: str = "", kind: str = "") -> JobWork:
        """Return the work of a job that reads every pixel of `units` images."""
        side = self.plan.study.image.size
        return JobWork(units * side**2, amount, self._network(arch) if arch else "", side, kind)

    def _train(self, arch: str) -> JobWork:
        epochs = planned_epochs(self.plan) or 1
        return self._pixels(epochs * (3 * self.counts.train + self.counts.val), 1, arch)

    def _explain(self, arch: str, bundle: str) -> JobWork:
        maps = maps_per_image(self.plan, arch, bundle) * self.plan.study.image.size**2
        explained = self.counts.explained * explained_classes(self.plan)
        return self._pixels(explained * self._passes(arch, bundle), explained * maps, arch, bundle)

    def _faithfulness(self, arch: str, bundle: str, battery: str) -> JobWork:
        settings = self.plan.study.batteries[battery]
        forwards = sum(_forwards_per_map(use.use) for use in settings.metrics.values()) * max(1, len(settings.imputers))
        maps = self.counts.explained * maps_per_image(self.plan, arch, bundle)
        return self._pixels(maps * max(1, forwards), maps * len(settings.metrics), arch, battery)

    def _randomise(self, arch: str, bundle: str) -> JobWork:
        settings = self.plan.study.randomisation
        assert settings is not None  # otherwise the rule does not exist
        images = min(self.counts.explained, settings.max_images or self.counts.explained)
        units = images * settings.steps * len(settings.orders) * self._passes(arch, bundle)
        return self._pixels(units, units, arch, bundle)

    def _localization(self, arch: str) -> JobWork:
        rows = self.counts.explained * self._all_maps(arch) * len(self.plan.study.localization)
        return self._pixels(rows, rows)

    def _agreement(self, arch: str) -> JobWork:
        rows = self.counts.explained * self._all_maps(arch) * comb(len(self.plan.study.seeds), 2)
        return self._pixels(rows, rows, arch)

    def _across(self) -> JobWork:
        archs, seeds = self.plan.architectures, self.plan.study.seeds
        on_common_grid = "localization" in self.plan.study.across
        rows = (
            self.counts.explained
            * self._all_maps(archs[0])
            * len(seeds)
            * (len(archs) ** 2 + len(archs) * on_common_grid)
        )
        return self._pixels(rows, rows)

    def _rows_of_scores(self) -> JobWork:
        models = len(self.plan.architectures) * len(self.plan.study.seeds)
        metrics = sum(map(len, self.plan.metrics.values()))
        rows = self.counts.explained * models * metrics * len(self.plan.map_labels)
        return JobWork(rows, rows)

    def _passes(self, arch: str, bundle: str) -> float:
        return 1 + sum(_passes_per_map(use) for use in self.plan.method_settings(arch, bundle).values())

    def _all_maps(self, arch: str) -> int:
        return sum(maps_per_image(self.plan, arch, bundle) for bundle in self.plan.bundles_of(arch))


def read_parameters(plan: Plan) -> dict[str, int]:
    """Return the number of parameters of each architecture of which a model is trained, from a model's card."""
    found: dict[str, int] = {}
    for arch in plan.architectures:
        for card in (plan.paths.card.format(arch=arch, seed=seed) for seed in plan.study.seeds):
            if arch not in found:
                with contextlib.suppress(OSError, ValueError, KeyError):  # not trained yet, or damaged
                    found[arch] = int(json.loads(Path(card).read_bytes())["parameters"])
    return found


def planned_epochs(plan: Plan) -> int:
    """Return the epochs of a training; 0 if the study does not train."""
    return 0 if plan.study.training == "none" else plan.study.training.epochs


def maps_per_image(plan: Plan, arch: str, bundle: str) -> int:
    """Return the number of maps per image: one per method, and the shuffled copies."""
    copies = plan.study.controls.copies
    return sum(1 + copies * use.shuffled for use in plan.method_settings(arch, bundle).values())


def explained_classes(plan: Plan) -> int:
    """Return the number of classes of an image that have maps, apart from the true class of a misclassified image."""
    uses = (use for battery in plan.study.batteries.values() for use in battery.metrics.values())
    contrast = any(registry.entry("faithfulness", use.use).declared.get("contrast") for use in uses)
    return 1 + contrast * len(CONTRAST_ROLES)


def _work_of_epochs(plan: Plan, job: RunningJob, work: JobWork) -> JobWork:
    """Scale the work of a training to its finished epochs, over all attempts."""
    planned = planned_epochs(plan)
    if not planned:
        return work
    with Path(tuple(job.output)[2]).open(encoding="utf-8") as file:  # weights, card, history
        epochs = [float(row["seconds"]) for row in csv.DictReader(file)]
    return replace(work, units=work.units * len(epochs) / planned, least_seconds=sum(epochs))


def _passes_per_map(use: MethodSettings) -> float:
    declared = registry.entry(use.group, use.use).declared
    return sum(_resolve_count(declared.get(kind, 0), use.options) for kind in ("forwards", "backwards", "head_passes"))


def _resolve_count(declared: int | str, options: Mapping[str, Any]) -> float:
    """Return a number of passes from its declaration: a number, or words as in "steps + 2" (attribution/contract.py)."""
    if isinstance(declared, int):
        return declared
    words, _, more = re.sub(r"\s", "", declared).partition("+")
    return math.prod(_resolve_word(word, options) for word in words.split("*")) + int(more or 0)


def _resolve_word(word: str, options: Mapping[str, Any]) -> float:
    """Return the number behind a word: the windows of occlusion, about as many superpixels as segments, or an option."""
    if word == "windows":
        steps: float = (1 - float(options["window"])) / float(options["stride"]) + 1
        return steps * steps
    return float(options.get("segments" if word == "superpixels" else word) or DEFAULT_PASSES)


def _forwards_per_map(metric: str) -> int:
    return int(registry.entry("faithfulness", metric).declared.get("forwards", 0))
