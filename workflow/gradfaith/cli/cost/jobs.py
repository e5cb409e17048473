"""List every job of a study and count its work, so that measured times can be scaled to it.

    training        epochs x (3 x training images + validation images)            a backward costs about two forwards
    maps            images x (1 + passes of every method of the bundle)           as their files declare them
    faithfulness    images x maps x forwards of every metric x imputers
    randomisation   images x steps x orders x (1 + passes)
    agreement       images x maps x pairs of seeds
    other           images, maps or scores, whichever the rule reads

If a rule reads pixels, its count is multiplied by the pixels of one image. Counts are proportional to the
work, not exact: methods share passes, metrics share changed images, and attention grows faster than the
pixels. They are compared with counts of the same rule only.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import comb
from pathlib import Path
from typing import Any

from gradfaith import registry
from gradfaith.dag.plan import Plan
from gradfaith.dag.rule_params import RuleParams
from gradfaith.storage import parquet
from gradfaith.vocabulary import PARTS

START_UP_SECONDS = 5.0  # seconds before a job computes: Python, torch and timm
GPU_RULES = ("train", "predict", "explain", "faithfulness", "randomise")
DEFAULT_PASSES = 512  # passes of a method that needs one per channel, or a number that its options do not tell


@dataclass(frozen=True)
class PlannedJob:
    """One job of a study: where it writes, and what its time and its storage are proportional to."""

    rule: str
    outputs: tuple[str, ...]
    benchmark: str
    log: str
    work: float
    amount: float  # what its storage is proportional to
    network: str = ""  # the timm name of the network that computes
    side: int = 0  # of the images in pixels; 0: pixels do not count
    kind: str = ""  # variant of the rule: a bundle, a battery
    maps: str = ""  # the map store that it writes or reads
    settings: Mapping[str, Any] = field(
        default_factory=dict
    )  # with which the maps, or the training, must have been made


@dataclass(frozen=True)
class ImageCounts:
    """Images of each part of the split, and explained images."""

    train: float
    val: float
    test: float
    explained: float

    @property
    def images(self) -> float:
        return self.train + self.val + self.test


def count_images(plan: Plan, images: int | None = None) -> ImageCounts | None:
    """Count images from the split if it exists, else from the study's shares; None if the number of images is not known.

    `images`: how many there will be, if there is no split yet.
    """
    split, study = Path(plan.paths.splits), plan.study
    if split.is_file():
        counted = parquet.read(split, parquet.SPLITS)["part"].value_counts()
        parts = {part: float(counted.get(part, 0)) for part in PARTS}
    else:
        total = images or count_expected_images(plan)
        if total is None:
            return None
        shares = {"train": study.split.train, "val": study.split.val, "test": study.split.test}
        parts = {part: share * total for part, share in shares.items()}
    explained = sum(parts[part] for part in study.explain.parts)
    return ImageCounts(**parts, explained=min(explained, study.explain.max_images or explained))


def count_expected_images(plan: Plan) -> int | None:
    """Return how many images a dataset that is not indexed yet will have; None if that is not known."""
    dataset = plan.dataset
    if dataset.files and Path(dataset.files).is_file():
        return len(Path(dataset.files).read_text(encoding="utf-8").splitlines()) - 1
    drawn = [dataset.options.get(key) for key in ("patients_per_class", "slices_per_patient")]
    if all(isinstance(count, int) for count in drawn):
        return len(dataset.classes) * drawn[0] * drawn[1]  # type: ignore[operator]
    return None


def plan_jobs(plan: Plan, counts: ImageCounts) -> Iterator[PlannedJob]:
    """Yield every job of a study, in the order in which they run."""
    yield from _data_jobs(plan, counts)
    for arch in plan.architectures:
        network = plan.study.architectures[arch].timm or arch
        for seed in plan.study.seeds:
            yield from _model_jobs(plan, counts, network, {"arch": arch, "seed": seed})
        if plan.between_seeds:
            pairs = comb(len(plan.study.seeds), 2)
            yield _study_job(
                plan, "agreement", [plan.paths.agreement], {"arch": arch},
                counts.explained * sum(_maps_per_image(plan, arch, bundle) for bundle in plan.bundles_of(arch)) * pairs,
                network=network, side=plan.study.image.size,
            )  # fmt: skip
    yield from _result_jobs(plan, counts)


def _resource_job(plan: Plan, rule: str, outputs: Sequence[str], amount: float, kind: str) -> PlannedJob:
    """Return a job that writes into resources/, with its benchmark and its log beside its first output."""
    benchmark, log = (plan.paths.beside(outputs[0], suffix) for suffix in (".benchmark", ".log"))
    return PlannedJob(rule, tuple(outputs), benchmark, log, amount, amount, kind=kind)


def _data_jobs(plan: Plan, counts: ImageCounts) -> Iterator[PlannedJob]:
    paths, n, side = plan.paths, counts.images, plan.study.image.size
    if plan.dataset.fetched:
        name = plan.dataset.name
        yield _resource_job(plan, "fetch", [paths.fetched(name)], n, name)
    if plan.dataset.raw:
        yield _resource_job(plan, "list_raw", [paths.raw_listing(plan.dataset.name)], n, plan.dataset.name)
    for timm in plan.pretrained_names:
        outputs = [paths.pretrained(timm), paths.pretrained_record(timm)]
        yield _resource_job(plan, "weights", outputs, 1, timm)
    if plan.dataset.groups:
        yield _study_job(plan, "group", [paths.groups, paths.links, paths.groups_report], {}, n, home=True)
    yield _study_job(plan, "index", [paths.manifest], {}, n, home=True)
    yield _study_job(plan, "split", [paths.splits, paths.split_report], {}, n, home=True)
    yield _study_job(plan, "pack_images", [paths.images], {}, n, home=True, side=side, amount=n * side**2)
    yield _study_job(plan, "audit", [paths.audit], {}, n, home=True, side=side)
    yield _study_job(plan, "leakage_check", [paths.leakage_check], {}, 1, home=True)


def _model_jobs(plan: Plan, counts: ImageCounts, network: str, cell: Mapping[str, Any]) -> Iterator[PlannedJob]:
    """Yield the jobs of one model: train or adopt, predict, explain and score."""
    paths, study, arch = plan.paths, plan.study, cell["arch"]
    side = study.image.size
    if study.external:
        yield _study_job(plan, "adopt", [paths.card], cell, 1, home=True, network=network)
    else:
        epochs = 0 if study.training == "none" else study.training.epochs
        outputs = [paths.weights, paths.card, paths.history]
        work, spec = (epochs or 1) * (3 * counts.train + counts.val), RuleParams(plan).train(arch)["spec"]
        yield _study_job(
            plan, "train", outputs, cell, work, home=True, network=network, side=side, amount=1,
            settings={"epochs": epochs, "spec": spec | {"size": side}},
        )  # fmt: skip
    yield _study_job(plan, "predict", [paths.predictions], cell, counts.images, home=True, network=network, side=side)
    for bundle in plan.bundles_of(arch):
        yield from _bundle_jobs(plan, counts, network, cell, bundle)
    if study.localization:
        maps = sum(_maps_per_image(plan, arch, bundle) for bundle in plan.bundles_of(arch))
        rows = counts.explained * maps * len(study.localization)
        yield _study_job(plan, "localization", [paths.localization], cell, rows, side=side)


def _bundle_jobs(
    plan: Plan, counts: ImageCounts, network: str, cell: Mapping[str, Any], bundle: str
) -> Iterator[PlannedJob]:
    """Yield the jobs of one model and bundle: explain, faithfulness and randomise."""
    paths, study, arch, side = plan.paths, plan.study, cell["arch"], plan.study.image.size
    maps = _maps_per_image(plan, arch, bundle)
    passes = 1 + sum(_passes_per_map(use) for use in plan.method_settings(arch, bundle).values())
    of_bundle: dict[str, Any] = {
        "network": network,
        "side": side,
        "maps": paths.maps,
        "settings": RuleParams(plan).explain(arch, bundle),
    }
    cell, maps_deleted = {**cell, "bundle": bundle}, not study.keep.maps and Path(paths.scores).is_file()
    yield _study_job(
        plan, "explain", [] if maps_deleted else [paths.maps], cell, counts.explained * passes,
        kind=bundle, amount=counts.explained * maps * side**2, **of_bundle,
    )  # fmt: skip
    for battery, metrics in study.batteries.items():
        forwards = sum(_forwards_per_map(use.use) for use in metrics.metrics.values()) * len(metrics.imputers)
        outputs = [paths.faithfulness, paths.faithfulness_curves]
        yield _study_job(
            plan, "faithfulness", outputs, {**cell, "battery": battery}, counts.explained * maps * max(1, forwards),
            kind=battery, amount=counts.explained * maps * len(metrics.metrics), **of_bundle,
        )  # fmt: skip
    if (settings := study.randomisation) and bundle in plan.randomised_bundles:
        images = min(counts.explained, settings.max_images or counts.explained)
        work = images * (settings.steps * len(settings.orders)) * passes
        yield _study_job(plan, "randomise", [paths.randomisation], cell, work, kind=bundle, **of_bundle)


def _result_jobs(plan: Plan, counts: ImageCounts) -> Iterator[PlannedJob]:
    paths = plan.paths
    metrics = sum(map(len, plan.metrics.values()))
    models = len(plan.architectures) * len(plan.study.seeds)
    if plan.study.across:
        maps = sum(_maps_per_image(plan, plan.architectures[0], bundle) for bundle in plan.bundles)
        rows = counts.explained * models * maps * len(plan.architectures)
        yield _study_job(plan, "across", [paths.across], {}, rows, side=plan.study.image.size)
    rows = counts.explained * models * metrics * len(plan.map_labels)
    yield _study_job(plan, "merge_scores", [paths.scores, paths.curves], {}, rows)
    yield _study_job(plan, "estimate", [paths.estimates, paths.contrasts, paths.ranks, paths.classification], {}, rows)
    if plan.study.meta:
        yield _study_job(plan, "meta", [paths.meta], {}, rows)
    for figure in plan.figures:
        yield _study_job(
            plan, "figure", [paths.figure(figure, end) for end in ("svg", "png")], {}, 1, named=f"figure_{figure}"
        )
    for table in plan.tables:
        yield _study_job(
            plan, "table", [paths.table(table, end) for end in ("md", "csv", "tex")], {}, 1, named=f"table_{table}"
        )
    yield _study_job(plan, "provenance", [paths.provenance], {}, 1)


def _study_job(
    plan: Plan,
    rule: str,
    outputs: list[str],
    cell: Mapping[str, Any],
    work: float,
    *,
    home: bool = False,
    network: str = "",
    side: int = 0,
    kind: str = "",
    amount: float | None = None,
    named: str = "",
    maps: str = "",
    settings: Mapping[str, Any] | None = None,
) -> PlannedJob:
    paths, words = plan.paths, {key: str(value) for key, value in cell.items()}
    benchmark, log = (paths.home_benchmark, paths.home_log) if home else (paths.benchmark, paths.log)
    return PlannedJob(
        rule, tuple(path.format(**words) for path in outputs), benchmark(named or rule, *words).format(**words),
        log(named or rule, *words).format(**words), work * (side**2 or 1), work if amount is None else amount,
        network, side, kind or named, maps.format(**words), settings or {},
    )  # fmt: skip


def _maps_per_image(plan: Plan, arch: str, bundle: str) -> int:
    """Return the number of maps per image: one per method, and the shuffled copies."""
    copies = plan.study.controls.copies
    return sum(1 + copies * use["shuffled"] for use in plan.method_settings(arch, bundle).values())


def _passes_per_map(use: Mapping[str, Any]) -> float:
    declared = registry.entry(use["group"], use["use"]).declared
    return sum(
        _resolve_count(declared.get(kind, 0), use["options"]) for kind in ("forwards", "backwards", "head_passes")
    )


def _resolve_count(declared: int | str, options: Mapping[str, Any]) -> float:
    """Return a number of passes from its declaration: a number, "windows" (occlusion), or an option as in "steps + 2"."""
    if isinstance(declared, int):
        return declared
    word, _, more = re.sub(r"\s", "", declared).partition("+")
    if word == "windows":
        steps = (1 - float(options["window"])) / float(options["stride"]) + 1
        return steps * steps + int(more or 0)
    return float(options.get(word) or DEFAULT_PASSES) + int(more or 0)


def _forwards_per_map(metric: str) -> int:
    return int(registry.entry("faithfulness", metric).declared.get("forwards", 0))
