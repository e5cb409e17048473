"""Check that every file of a finished study exists, is undamaged, has its own path, and was made from the files beside it.

Tables and stores are read completely, so that every checksum in them is compared. Weights are compared with their
card, images are decoded, documents parsed. Then the identities of all files are compared with each other
(storage/origins.py). Files of the study's base are checked as well, because the results depend on them.
"""

import hashlib
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

from gradfaith.dag.plan import Plan
from gradfaith.errors import GradFaithError
from gradfaith.storage import hdf5_file, json_file, parquet
from gradfaith.storage.identity import Identity
from gradfaith.storage.origins import check_inputs
from gradfaith.storage.paths import declared_results

SCHEMAS = {  # kind of a table -> its schema
    "faithfulness": parquet.SCORES, "localization": parquet.SCORES, "agreement": parquet.SCORES, "across": parquet.SCORES,
    "randomisation": parquet.SCORES, "scores": parquet.SCORES, "faithfulness_curves": parquet.CURVES, "curves": parquet.CURVES,
    "manifest": parquet.MANIFEST, "groups": parquet.GROUPS, "links": parquet.LINKS, "splits": parquet.SPLITS,
    "predictions": parquet.PREDICTIONS, "estimates": parquet.ESTIMATES, "contrasts": parquet.CONTRASTS, "ranks": parquet.RANKS,
    "meta": parquet.META, "classification": parquet.CLASSIFICATION,
}  # fmt: skip

PDF_STREAM = re.compile(rb"/FlateDecode[^>]*>>\s*stream\r?\n(.*?)\r?\nendstream", re.DOTALL)


def verify_study(plan: Plan, root: Path) -> Iterator[str]:
    """Yield one line per problem: a file that is missing, damaged, or does not belong to the others."""
    there = []
    for name in expected_files(plan):
        if not (root / name).is_file():
            yield f"missing: {name}"
            continue
        there.append(name)
        try:
            CHECKS[Path(name).suffix](root / name)
        except GradFaithError as error:
            yield f"damaged: {error.problem}"
        except Exception as error:  # a parser of damaged bytes raises anything
            yield f"damaged: {name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    yield from _conflicts(there, root)


def unexpected_files(plan: Plan, root: Path) -> list[str]:
    """List the files in the study's folder that no rule of it makes, as they are left behind when a study changes."""
    expected = set(expected_files(plan)) | set(_may_be_there(plan))
    own = Path(plan.paths.scores).parent
    found = (path for path in declared_results(root) if path.is_relative_to(own))
    return [path.as_posix() for path in found if path.as_posix() not in expected]


def expected_files(plan: Plan) -> list[str]:
    """List the files that a finished study keeps, of data first, of results last."""
    paths, study = plan.paths, plan.study
    models = [paths.weights, paths.card, paths.predictions, *([] if study.external else [paths.history])]
    data = [paths.manifest, paths.splits, paths.split_report, paths.images, paths.audit, paths.leakage_check]
    grouping = [paths.groups, paths.links, paths.groups_report] if plan.dataset.groups else []
    maps = [cell for arch in plan.architectures for cell in plan.map_stores(arch)] if study.keep.maps else []
    results = [paths.scores, paths.curves, paths.estimates, paths.contrasts, paths.ranks, paths.classification]
    shown = [paths.figure(figure, suffix) for figure in plan.figures for suffix in ("svg", "png", "pdf")]
    shown += [paths.table(table, suffix) for table in plan.tables for suffix in ("html", "md", "csv", "tex")]
    return [
        *data, *grouping, *(file for path in models for file in plan.per_model(path)), *maps, *plan.score_tables(),
        *plan.curve_tables(), *results, *([paths.meta] if study.meta else []), *([paths.claims] if study.claims else []),
        *([paths.verdict] if study.verdict else []), *shown, paths.provenance,
    ]  # fmt: skip


def _may_be_there(plan: Plan) -> list[str]:
    """List temporary files, which Snakemake removes when no job needs them."""
    return [cell for arch in plan.architectures for cell in plan.map_stores(arch)]


def _conflicts(names: list[str], root: Path) -> Iterator[str]:
    """Yield contradictions between the identities of undamaged files; the paths in them are relative to `root`."""
    digests: dict[str, str] = {}
    for name in names:
        try:
            found = check_inputs([root / name])
        except GradFaithError:
            continue  # reported above
        found[name] = found.pop(str(root / name), "")
        wrong = [other for other, digest in found.items() if digest and digests.setdefault(other, digest) != digest]
        if wrong:
            yield f"conflict: {name} was made from another version of {wrong[0]} than the files before it"


def _check_table(path: Path) -> None:
    parquet.read(path, SCHEMAS[Identity.of_place(path).kind])


def _check_weights(path: Path) -> None:
    """Compare weights with the card beside them; of another study's weights the card is that study's."""
    card = json_file.read(path.with_name("card.json"))
    if hashlib.sha256(path.read_bytes()).hexdigest() != card["weights_sha256"]:
        raise ValueError("its SHA-256 differs from the one on its card")


def _check_image(path: Path) -> None:
    with Image.open(path) as image:
        image.verify()


def _check_text(path: Path) -> None:
    if not path.read_text(encoding="utf-8").strip():
        raise ValueError("it is empty")


def _check_svg(path: Path) -> None:
    ElementTree.parse(path)


def _check_pdf(path: Path) -> None:
    """Decompress every stream of a PDF: each has a checksum."""
    content = path.read_bytes()
    if not content.startswith(b"%PDF-") or not content.rstrip().endswith(b"%%EOF"):
        raise ValueError("it has not the first or the last line of a PDF")
    for stream in PDF_STREAM.finditer(content):
        zlib.decompress(stream[1])


CHECKS: Mapping[str, Callable[[Path], object]] = {
    ".parquet": _check_table, ".h5": hdf5_file.read_all, ".safetensors": _check_weights, ".json": json_file.read,
    ".png": _check_image, ".svg": _check_svg, ".pdf": _check_pdf, ".md": _check_text, ".html": _check_text, ".csv": _check_text, ".tex": _check_text,
}  # fmt: skip
