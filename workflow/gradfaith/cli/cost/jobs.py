"""How much work every job of a study is, counted before it runs, so that what was measured can be scaled to it.

    training        epochs x (3 x training images + validation images)            a backward costs about two forwards
    maps            images x (1 + passes of every method of the bundle)           as their files declare them
    faithfulness    images x maps x forwards of every metric x imputers
    randomisation   images x steps x orders x (1 + passes)
    agreement       images x maps x pairs of seeds
    other           images, maps or scores, whatever the rule goes through

Where images are gone through pixel by pixel, all that is times the pixels of one. The counts are proportional, not exact: methods
share passes, metrics share changed images, and attention grows faster than the pixels. They are compared with counts of the same
rule only.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import comb
from pathlib import Path
from typing import Any

from gradfaith import registry
from gradfaith.dag.plan import Plan
from gradfaith.dag.rule_params import Slices
from gradfaith.storage import parquet
from gradfaith.storage.paths import RESOURCES

START = 5.0  # seconds before a job computes: Python, torch and timm
GPU_RULES = ("train", "predict", "explain", "faithfulness", "randomise")
UNKNOWN = 512  # passes of a method that asks for one per channel, or for a number its options do not say


@dataclass(frozen=True)
class Job:
    """One job: where it writes, and what its time and its storage are proportional to."""

    rule: str
    outputs: tuple[str, ...]
    benchmark: str
    log: str
    work: float
    amount: float  # of storage
    network: str = ""  # what computes, by its timm name
    side: int = 0  # of the images, where their pixels count
    kind: str = ""  # of the rule: a bundle, a battery
    maps: str = ""  # the store that is written or read
    settings: Mapping[str, Any] = field(default_factory=dict)  # that the maps, or the training, should be of


@dataclass(frozen=True)
class Sizes:
    """Images of each part."""

    train: float
    val: float
    test: float
    explained: float

    @property
    def images(self) -> float:
        return self.train + self.val + self.test


def sizes(plan: Plan, images: int | None = None) -> Sizes | None:
    """From the split where it is there, else from the shares asked for; nothing where nobody knows how many images there are."""
    split, study = Path(plan.layout.splits), plan.study
    if split.is_file():
        counted = parquet.read(split, parquet.SPLITS)["part"].value_counts()
        parts = {part: float(counted.get(part, 0)) for part in ("train", "val", "test")}
    else:
        known = images or expected(plan)
        if known is None:
            return None
        shares = {"train": study.split.train, "val": study.split.val, "test": study.split.test}
        parts = {part: share * known for part, share in shares.items()}
    explained = sum(parts[part] for part in study.explain.parts)
    return Sizes(**parts, explained=min(explained, study.explain.max_images or explained))


def expected(plan: Plan) -> int | None:
    """How many images a dataset will have that is not indexed yet."""
    dataset = plan.dataset
    if dataset.files and Path(dataset.files).is_file():
        return len(Path(dataset.files).read_text(encoding="utf-8").splitlines()) - 1
    drawn = [dataset.options.get(key) for key in ("patients_per_class", "slices_per_patient")]
    if all(isinstance(count, int) for count in drawn):
        return len(dataset.classes) * drawn[0] * drawn[1]  # type: ignore[operator]
    return None


def jobs(plan: Plan, size: Sizes) -> Iterator[Job]:
    """Every job of a study, in the order in which they run."""
    yield from _data(plan, size)
    for arch in plan.architectures:
        network = plan.study.architectures[arch].timm or arch
        for seed in plan.study.seeds:
            yield from _model(plan, size, network, {"arch": arch, "seed": seed})
        if plan.between_seeds:
            pairs = comb(len(plan.study.seeds), 2)
            yield _job(
                plan, "agreement", [plan.layout.agreement], {"arch": arch},
                size.explained * sum(_maps(plan, arch, bundle) for bundle in plan.cells(arch)) * pairs,
                network=network, side=plan.study.image.size,
            )  # fmt: skip
    yield from _results(plan, size)


def _data(plan: Plan, size: Sizes) -> Iterator[Job]:
    layout, n, side = plan.layout, size.images, plan.study.image.size
    if plan.dataset.fetched:
        name = plan.dataset.name
        yield _resource("fetch", [layout.fetched(name)], f"{name}/fetch", n, name)
    for timm in plan.pretrained:
        outputs = [layout.pretrained(timm), layout.pretrained_record(timm)]
        yield _resource("weights", outputs, f"weights/{timm}", 1, timm)
    if plan.dataset.groups:
        yield _job(plan, "group", [layout.groups, layout.links, layout.groups_report], {}, n, home=True)
    yield _job(plan, "index", [layout.manifest], {}, n, home=True)
    yield _job(plan, "split", [layout.splits, layout.split_report], {}, n, home=True)
    yield _job(plan, "pack", [layout.images], {}, n, home=True, side=side, amount=n * side**2)
    yield _job(plan, "audit", [layout.audit], {}, n, home=True, side=side)
    yield _job(plan, "gate", [layout.gate], {}, 1, home=True)


def _model(plan: Plan, size: Sizes, network: str, cell: Mapping[str, Any]) -> Iterator[Job]:
    """What is done for one model: trained, or taken as it is, then asked, explained and scored."""
    layout, study, arch, slices = plan.layout, plan.study, cell["arch"], Slices(plan)
    side = study.image.size
    if study.external:
        yield _job(plan, "adopt", [layout.card], cell, 1, home=True, network=network)
    else:
        epochs = 0 if study.training == "none" else study.training.epochs
        outputs = [layout.weights, layout.card, layout.history]
        work, spec = (epochs or 1) * (3 * size.train + size.val), slices.model(arch)["spec"]
        yield _job(
            plan, "train", outputs, cell, work, home=True, network=network, side=side, amount=1,
            settings={"epochs": epochs, "spec": spec | {"size": side}},
        )  # fmt: skip
    yield _job(plan, "predict", [layout.predictions], cell, size.images, home=True, network=network, side=side)
    for bundle in plan.cells(arch):
        maps, asked = _maps(plan, arch, bundle), 1 + sum(_passes(use) for use in plan.methods(arch, bundle).values())
        maps_of: dict[str, Any] = {
            "network": network,
            "side": side,
            "maps": layout.maps,
            "settings": slices.bundle(arch, bundle),
        }
        own, gone = {**cell, "bundle": bundle}, not study.keep.maps and Path(layout.scores).is_file()
        yield _job(
            plan, "explain", [] if gone else [layout.maps], own, size.explained * asked,
            kind=bundle, amount=size.explained * maps * side**2, **maps_of,
        )  # fmt: skip
        for battery, metrics in study.batteries.items():
            forwards = sum(_forwards(use.use) for use in metrics.metrics.values()) * len(metrics.imputers)
            outputs = [layout.faithfulness, layout.faithfulness_curves]
            yield _job(
                plan, "faithfulness", outputs, {**own, "battery": battery}, size.explained * maps * max(1, forwards),
                kind=battery, amount=size.explained * maps * len(metrics.metrics), **maps_of,
            )  # fmt: skip
        if (asks := study.randomisation) and bundle in plan.randomised:
            shown = min(size.explained, asks.max_images or size.explained)
            steps = asks.steps * len(asks.orders)
            yield _job(plan, "randomise", [layout.randomisation], own, shown * steps * asked, kind=bundle, **maps_of)
    if study.localization:
        maps = sum(_maps(plan, arch, bundle) for bundle in plan.cells(arch))
        rows = size.explained * maps * len(study.localization)
        yield _job(plan, "localization", [layout.localization], cell, rows, side=side)


def _results(plan: Plan, size: Sizes) -> Iterator[Job]:
    layout = plan.layout
    metrics = sum(map(len, plan.metrics.values()))
    models = len(plan.architectures) * len(plan.study.seeds)
    if plan.study.across:
        maps = sum(_maps(plan, plan.architectures[0], bundle) for bundle in plan.bundles)
        rows = size.explained * models * maps * len(plan.architectures)
        yield _job(plan, "across", [layout.across], {}, rows, side=plan.study.image.size)
    rows = size.explained * models * metrics * len(plan.method_names)
    yield _job(plan, "collect", [layout.scores, layout.curves], {}, rows)
    yield _job(plan, "estimate", [layout.estimates, layout.contrasts, layout.ranks, layout.classification], {}, rows)
    if plan.study.meta:
        yield _job(plan, "meta", [layout.meta], {}, rows)
    for figure in plan.figures:
        yield _job(
            plan, "figure", [layout.figure(figure, end) for end in ("svg", "png")], {}, 1, named=f"figure_{figure}"
        )
    for table in plan.tables:
        yield _job(
            plan, "table", [layout.table(table, end) for end in ("md", "csv", "tex")], {}, 1, named=f"table_{table}"
        )
    yield _job(plan, "provenance", [layout.provenance], {}, 1)


def _job(
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
) -> Job:
    layout, words = plan.layout, {key: str(value) for key, value in cell.items()}
    benchmark, log = (layout.home_benchmark, layout.home_log) if home else (layout.benchmark, layout.log)
    return Job(
        rule, tuple(path.format(**words) for path in outputs), benchmark(named or rule, *words).format(**words),
        log(named or rule, *words).format(**words), work * (side**2 or 1), work if amount is None else amount,
        network, side, kind or named, maps.format(**words), settings or {},
    )  # fmt: skip


def _resource(rule: str, outputs: list[str], stem: str, work: float, kind: str) -> Job:
    """What is fetched, once for all studies."""
    stem = f"{RESOURCES}/{stem}"
    return Job(rule, tuple(outputs), f"{stem}.benchmark", f"{stem}.log", work, work, kind=kind)


def _maps(plan: Plan, arch: str, bundle: str) -> int:
    """Maps per image: one per method, and the shuffled copies of those that have them."""
    copies = plan.study.controls.copies
    return sum(1 + copies * use["shuffled"] for use in plan.methods(arch, bundle).values())


def _passes(use: Mapping[str, Any]) -> float:
    declared = registry.entry(use["room"], use["use"]).declared
    return sum(_count(declared.get(kind, 0), use["options"]) for kind in ("forwards", "backwards", "heads"))


def _count(said: int | str, options: Mapping[str, Any]) -> float:
    """A number of passes, or the word that stands for it: an option with a number added, or windows of occlusion."""
    if isinstance(said, int):
        return said
    word, _, more = re.sub(r"\s", "", said).partition("+")
    if word == "windows":
        steps = (1 - float(options["window"])) / float(options["stride"]) + 1
        return steps * steps + int(more or 0)
    return float(options.get(word) or UNKNOWN) + int(more or 0)


def _forwards(metric: str) -> int:
    return int(registry.entry("faithfulness", metric).declared.get("forwards", 0))
