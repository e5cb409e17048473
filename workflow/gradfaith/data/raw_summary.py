"""Summarise the raw images of a dataset before any job runs: files, classes, patients, evidence, sizes.

Every file is listed and every record read, as rule `index` does, and some images of each class are decoded with their
evidence. What is wrong is collected, so that one look finds all of it. A private dataset is read under a key that is
thrown away, so that no name is shown and no key is made.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from gradfaith.config.job_settings import DataSettings
from gradfaith.data.manifest import check_classes, check_groups
from gradfaith.data.private_names import KEY_BYTES, PrivateReader
from gradfaith.data.raw_files import RawData, open_raw
from gradfaith.data.readers.contract import GroupKind, Record
from gradfaith.errors import DatasetInvalid, GradFaithError
from gradfaith.vocabulary import EvidenceKind

SAMPLE = 12  # images of each class that are decoded


@dataclass(frozen=True)
class RawSummary:
    """What the raw folder of a dataset holds, and what is wrong with it."""

    table: pd.DataFrame  # image_id, label, group ("": not known), evidence: one row per image
    files: int  # 0: the images are computed
    decoded: int
    sizes: str  # of the decoded images
    types: str  # of the image files, with their numbers
    group_kind: GroupKind  # what the groups are, if they are known
    problems: list[GradFaithError] = field(default_factory=list)


def summarise_raw(
    settings: DataSettings, folder: str | None, evidence: EvidenceKind, *, infers_groups: bool
) -> RawSummary:
    """Read the records of a dataset, and decode some of its images.

    `folder`: the raw folder, None for a dataset that is computed; `evidence`: what the dataset says it has.
    """
    raw = _open_without_key(settings, folder)
    files = raw.reader.files(raw.folder, raw.options)
    records = list(raw.reader.index(raw.folder, raw.options))
    rows = [(record.image_id, record.label, record.group, record.evidence) for record in records]
    table = pd.DataFrame(rows, columns=["image_id", "label", "group", "evidence"])
    lonely = [] if infers_groups else list(table.loc[table["group"] == "", "image_id"])
    checks: list[Callable[[], None]] = [
        lambda: check_classes(records, settings.classes),
        lambda: check_groups(lonely, len(records)),
        lambda: _check_evidence(table, evidence),
    ]
    problems = list[GradFaithError]()
    for check in checks:
        try:
            check()
        except GradFaithError as error:
            problems.append(error)
    sizes, unread = _decode_sample(raw, records)
    types = Counter(path.suffix.lower().removeprefix(".") for path in _image_files(files, records))
    listed = ", ".join(f"{count} {kind}" for kind, count in types.most_common())
    kind: GroupKind = next((record.group_kind for record in records if record.group), "patient")
    return RawSummary(table, len(files), len(sizes), _describe_sizes(sizes), listed, kind, [*problems, *unread])


def _image_files(files: Mapping[str, Path], records: Sequence[Record]) -> list[Path]:
    """Return the files of the images, which have suffixes in a private dataset too; none for one that is computed."""
    return [files[record.file] for record in records if record.file in files]


def _open_without_key(settings: DataSettings, folder: str | None) -> RawData:
    raw = open_raw(settings.model_copy(update={"private": False}), folder)
    if not settings.private:
        return raw
    return RawData(PrivateReader(raw.reader, secrets.token_bytes(KEY_BYTES)), raw.folder, raw.options)


def _check_evidence(table: pd.DataFrame, evidence: EvidenceKind) -> None:
    found = sorted(set(table["evidence"]) - {"none"})
    if evidence != "none" and evidence not in found:
        raise DatasetInvalid(
            problem=f"the dataset's file has `evidence: {evidence}`, but the images have {' and '.join(found) or 'none'}.",
            reason="Localization metrics compare maps with this evidence.",
            fix="Add the evidence beside the images (docs/your-data.md shows where), or correct `evidence:`.",
        )
    if evidence == "none" and found:
        raise DatasetInvalid(
            problem=f"the dataset's file has `evidence: none`, but images have {' and '.join(found)}.",
            reason="Evidence that the dataset's file does not state is not used.",
            fix=f"Set `evidence: {found[0]}` in the dataset's file, or move the evidence out of the raw folder.",
        )


def _decode_sample(raw: RawData, records: Sequence[Record]) -> tuple[list[tuple[int, int]], list[GradFaithError]]:
    """Decode evenly spaced images of each class; return their sizes (h, w), and the errors."""
    sizes, errors = list[tuple[int, int]](), list[GradFaithError]()
    by_class = dict[str, list[Record]]()
    for record in records:
        by_class.setdefault(record.label, []).append(record)
    for members in by_class.values():
        for place in range(0, len(members), max(1, -(-len(members) // SAMPLE))):
            try:
                pixels = raw.reader.read(raw.folder, raw.options, members[place], None).pixels
            except GradFaithError as error:
                errors.append(error)
            else:
                sizes.append((pixels.shape[0], pixels.shape[1]))
    return sizes, errors


def _describe_sizes(sizes: Sequence[tuple[int, int]]) -> str:
    """Return widths x heights in words."""
    if not sizes:
        return "no image could be decoded"
    known = sorted(set(sizes), key=lambda size: size[0] * size[1])
    texts = [f"{width} x {height}" for height, width in (known[0], known[-1])]
    return texts[0] if len(known) == 1 else f"from {texts[0]} to {texts[1]}"
