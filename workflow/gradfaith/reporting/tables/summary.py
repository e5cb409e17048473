"""The first page of a study: which models classify, which maps are better than controls, and what could be wrong.

Every sentence is computed from the tables of stats/ and from the audit; nothing is estimated here. What "better than a control"
means is defined in comparisons.py. If a dataset has no masks, the page makes no statement about localization. The audit figure
shows the same sentences about the data (`describe_...`).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting import metric_rows
from gradfaith.reporting.metric_rows import TableRow, display_label
from gradfaith.reporting.tables.comparisons import (
    MANY,
    Comparison,
    compare_with_controls,
    comparison_sentences,
    primary_sentences,
)
from gradfaith.reporting.tables.contract import (
    Block,
    Cell,
    Sheet,
    Table,
    estimate_cell,
    estimate_text,
    p_value_text,
)
from gradfaith.vocabulary import STATUSES

Audit = Mapping[str, Any]  # the content of audit.json
TABLE = Table(
    needs=("classification", "estimates", "contrasts", "manifest", "splits", "audit"),
    section="Summary",
    place=1,
    title="Headline numbers",
)
NAMED = 5  # models and methods with lost scores that are named
NO_MASKS = "The dataset has no masks, so it is not known where a tumour lies: this page says nothing about localization of tumours."
PAIRED = "Comparisons are paired by image; a gain above 0 means that the method is better than the control."
CONTRAST_HEAD = (
    "architecture",
    "method",
    "metric",
    "controls beaten",
    "hardest control",
    "gain over it",
    "controls not beaten",
)


def tabulate(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> Sheet:
    """Return the study's headline numbers as sentences, and one table of methods against controls."""
    test = tables["manifest"].merge(tables["splits"].query("part == 'test'"), on="image_id")
    noun, (audit,) = metric_rows.group_noun(tables["manifest"]), metric_rows.records(tables["audit"])
    comparisons = compare_with_controls(tables["contrasts"], about)
    classified = classification_sentences(tables["classification"], test["label"], about)
    compared = [*primary_sentences(tables["contrasts"], about), PAIRED, *comparison_sentences(comparisons)]
    compared += [NO_MASKS] if about.evidence == "none" else []
    doubts = [
        describe_leakage(audit),
        describe_shortcut(audit),
        describe_duplicates(audit),
        *([describe_groups(audit, noun)] if audit["inferred"] else []),
        *doubts_about_estimates(tables, about),
    ]
    blocks = (
        Block("Do the models classify?", (), (), classified),
        Block("Are the maps better than controls?", CONTRAST_HEAD, _comparison_rows(comparisons, about), compared),
        Block("What could be wrong?", (), (), doubts),
    )
    lines = [(block.caption, sentence) for block in blocks for sentence in block.sentences]
    lead = (_size_sentence(test, audit, noun, about), *about.notes, "Not for clinical use.")
    return Sheet(f"Summary, {about.title}", lead, blocks, pd.DataFrame(lines, columns=["question", "answer"]))


def _size_sentence(test: pd.DataFrame, audit: Audit, noun: str, about: StudyDescription) -> str:
    """Return what was trained and tested on how much."""
    models, seeds = len(about.architectures), len(about.seeds)
    return (
        f"{models} architecture{'s'[: models != 1]} with {seeds} seed{'s'[: seeds != 1]} each, {len(about.classes)} classes, "
        f"{audit['images']} images of {audit['groups']} {noun}s; the test part has {len(test)} images of "
        f"{test['group'].nunique()} {noun}s. Brackets hold {100 * about.level:g} % intervals."
    )


def classification_sentences(table: pd.DataFrame, labels: pd.Series, about: StudyDescription) -> list[str]:
    """Return for every architecture whether it classifies better than chance; `labels`: those of the test images."""
    chance, majority = 1 / len(about.classes), float(labels.value_counts(normalize=True).max()) if len(labels) else 0.0
    macro, sentences = metric_rows.macro_average_rows(table), []
    for arch in about.architectures:
        own = metric_rows.index_rows(macro[macro["arch"] == arch], "metric")
        if "balanced_accuracy" not in own:
            sentences.append(f"{arch}: the study has no numbers on how well it classifies.")
            continue
        row = own["balanced_accuracy"]
        against = f"balanced accuracy {estimate_text(row)}, chance {chance:.2f}"
        if "accuracy" in own:
            against += f"; accuracy {estimate_text(own['accuracy'])}, most frequent class {majority:.2f}"
        sentences.append(f"{_classifies(arch, row, chance)}: {against}.")
    return sentences


def _classifies(arch: str, row: TableRow, chance: float) -> str:
    if pd.isna(row["value"]):
        return f"{arch}: undefined ({row['reason']})"
    if pd.isna(row["low"]):
        return f"{arch}: undecided whether it classifies better than chance, as there is no interval ({row['reason']})"
    if row["low"] > chance:
        return f"{arch} classifies better than chance"
    return (
        f"{arch} is worse than chance"
        if row["high"] < chance
        else f"{arch}: undecided whether it classifies better than chance"
    )


def _comparison_rows(comparisons: Sequence[Comparison], about: StudyDescription) -> list[list[Cell]]:
    """Return the lines of the table; with many methods, those of the primary metric only."""
    primary = display_label(about.primary.metric, about.metrics)
    many = len({one.method for one in comparisons}) > MANY
    return [_comparison_line(one) for one in comparisons if not many or one.metric == primary]


def _comparison_line(one: Comparison) -> list[Cell]:
    row = one.rows[0]
    gain = estimate_cell(
        pd.DataFrame([{**row, "value": row["gain"], "low": row["gain_low"], "high": row["gain_high"]}]), signed=True
    )
    names = [
        Cell(text)
        for text in (one.arch, one.method, one.metric, f"{len(one.beaten)} of {len(one.rows)}", str(row["against"]))
    ]
    return [
        *names,
        Cell(gain.text + p_value_text(row["p"]), gain.footnote),
        Cell(", ".join(one.not_beaten) or "none"),
    ]


def doubts_about_estimates(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> list[str]:
    """Return what weakens the numbers: few groups or seeds, lost maps, models that do not classify."""
    estimates = metric_rows.rows_over_all_images(tables["estimates"])
    return [
        *_doubtful_models(tables["classification"], about),
        *_doubtful_intervals(estimates),
        *_lost_scores(estimates, about),
    ]


def _doubtful_models(table: pd.DataFrame, about: StudyDescription) -> Iterator[str]:
    macro = metric_rows.macro_average_rows(table)
    low = metric_rows.index_rows(macro[macro["metric"] == "balanced_accuracy"], "arch")
    unsure = [arch for arch in about.architectures if arch not in low or not low[arch]["low"] > 1 / len(about.classes)]
    if unsure:
        yield f"Not shown to classify better than chance: {', '.join(unsure)}. Their maps may explain answers that are wrong."


def _doubtful_intervals(estimates: pd.DataFrame) -> Iterator[str]:
    """Yield how many estimates have no interval, and how many intervals hold for these models only."""
    valued = estimates[estimates["value"].notna()]
    without, with_interval = valued[valued["low"].isna()], valued[valued["low"].notna()]
    if len(without):
        commonest = str(without["reason"].value_counts().index[0])
        yield f"{len(without)} of {len(valued)} averages of scores have no interval; most often the reason is: {commonest}."
    only_groups = int((~with_interval["interval"].str.contains("seeds")).sum())
    if only_groups:
        yield (
            f"{only_groups} of {len(with_interval)} intervals do not cover the choice of the seed: "
            "they hold for these trained models, not for further ones."
        )


def _lost_scores(estimates: pd.DataFrame, about: StudyDescription) -> Iterator[str]:
    """Yield which methods have constant maps or maps that are not finite."""
    own = estimates[~estimates["method"].map(lambda name: metric_rows.is_control(name, about.controls))]
    total = own[[f"n_{status}" for status in STATUSES]].sum(axis=1)
    for status, words in (("degenerate", "constant maps"), ("failed", "maps that are not finite, or failed scores")):
        lost = own.assign(lost=own[f"n_{status}"], total=total).query("lost > 0").sort_values("lost", ascending=False)
        rows = metric_rows.records(lost.drop_duplicates(["arch", "method"]))
        named = [f"{row['method']} on {row['arch']} ({row['lost']} of {row['total']})" for row in rows[:NAMED]]
        more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
        yield f"Scores lost to {words}: {', '.join(named)}{more}." if rows else f"No method lost scores to {words}."


def describe_images(found: Audit, noun: str) -> str:
    """Return how many images and groups there are; `noun`: the word for one group."""
    text = f"{found['images']} images of {found['groups']} {noun}s, at most {found['group_size']['largest']} of one {noun}."
    if found["release"]:
        text += f" {found['release'][:1].upper()}{found['release'][1:]}."
    if found["unreadable"]:
        text += f" {len(found['unreadable'])} files could not be read and are left out."
    return text


def describe_groups(found: Audit, noun: str) -> str:
    """Return where the groups come from; of inferred groups also their range over thresholds."""
    if found["inferred"]:
        return f"{found['inferred']['caution']} Over a grid of thresholds: {_group_ranges(found)}."
    return f"The dataset itself names the {noun}s."


def _group_ranges(found: Audit) -> str:
    """Return the groups of every class, their range over thresholds, and what the dataset's authors state."""
    spread = found["inferred"]["spread"]["groups"]
    ranges = [
        f"{name} {row['groups']} ({spread[name][0]} to {spread[name][1]}"
        + (f"; its authors say {found['claimed'][name]} patients)" if name in found["claimed"] else ")")
        for name, row in found["classes"].items()
        if name in spread
    ]
    return ", ".join(ranges)


def describe_duplicates(found: Audit) -> str:
    """Return how many images are in the dataset twice, and how many of those pairs do harm."""
    near, same = found["near_duplicates"], found["duplicates"]
    return (
        f"{same['images']} images are exact copies ({same['across_classes']} sets across classes). {near['pairs']} further pairs "
        f"are nearly the same: {near['pairs_across_classes']} across classes, {near['pairs_across_parts']} across parts of the split."
    )


def describe_leakage(found: Audit) -> str:
    """Return what a nearest neighbour that does not look for disease gets right across the split."""
    leak = found["leakage"]
    if not leak["this"]:
        return f"Leakage of the split was not measured: {leak['reason']}.{_describe_known_images(found['seen_before'])}"
    random = [one["whole"] for one in leak["random"]]
    beside = f", {sum(random) / len(random):.2f} on a random split of the slices" if random else ""
    return (
        f"Leakage check: one nearest neighbour, which does not look for disease, reaches a balanced accuracy of "
        f"{leak['this']['whole']:.2f} on this split{beside} (chance {leak['chance']:.2f})."
    )


def _describe_known_images(seen: Mapping[str, Any] | None) -> str:
    """Return whether the models come from a study that was trained on these images."""
    if not seen:
        return ""
    many = seen["images"] or "None"
    return f" {many} of the images are, pixel by pixel, among those that trained the models of study {seen['study']}."


def describe_shortcut(found: Audit) -> str:
    """Return the property of the files or images, beside disease, that tells the classes apart best."""
    scores = [
        (score, stage, kind, name)
        for stage, kinds in found["shortcuts"].items()
        for kind, row in kinds.items()
        if row["status"] == "ok"
        for name, score in (row["one_vs_rest"] or {"": row["balanced_accuracy"]}).items()
    ]
    if not scores:
        return "No shortcut could be probed: the dataset has too few groups."
    score, stage, kind, name = max(scores)
    what = f"{name} from the other classes" if name else "the classes"
    return f"Strongest shortcut: {kind} alone ({stage}) tells {what} with a balanced accuracy of {score:.2f} (chance 0.50)."
