"""The first page of a study: the verdict on every method's maps, the comparison named beforehand, and what could be wrong.

Every sentence is computed from the verdict (stats/verdict.py), the tables of stats/ and the audit; nothing is estimated here. If
a dataset has no masks, the page makes no statement about localization. The audit figure shows the same sentences about the
data (`describe_...`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting import metric_rows
from gradfaith.reporting.metric_rows import TableRow, display_label
from gradfaith.reporting.tables.contract import Block, Cell, Sheet, Table, estimate_text, p_value_text
from gradfaith.reporting.tables.verdict import WHAT, margin_text, number_text, open_text, sentences
from gradfaith.stats.estimates import SIGN_OF_BETTER
from gradfaith.stats.gates import Gate
from gradfaith.stats.verdict import TITLES, VERDICT_OF, StudyVerdict
from gradfaith.vocabulary import STATUSES

Audit = Mapping[str, Any]  # the content of audit.json
TABLE = Table(
    needs=("classification", "estimates", "contrasts", "manifest", "splits", "audit", "verdict"),
    section="Summary",
    place=1,
    title="Summary",
)
NAMED = 5  # models and methods with lost scores that are named
MANY = 6  # with more verdicts, the page counts them
NO_MASKS = "The dataset has no masks, so it is not known where the evidence (a tumour, say) lies: this page says nothing about localization."
NO_VERDICT = "The study has no verdict (`verdict: false`)."
VERDICT_HEAD = ("architecture", "method", "verdict", *TITLES.values())


def tabulate(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> Sheet:
    """Return the study's headline numbers as sentences, and one table of methods against controls."""
    test = tables["manifest"].merge(tables["splits"].query("part == 'test'"), on="image_id")
    noun, (audit,) = metric_rows.group_noun(tables["manifest"]), metric_rows.records(tables["audit"])
    named = [*primary_sentences(tables["contrasts"], about), *([NO_MASKS] if about.evidence == "none" else [])]
    doubts = [
        describe_leakage(audit),
        describe_shortcut(audit),
        describe_duplicates(audit),
        *([describe_groups(audit, noun)] if audit["inferred"] else []),
        *doubts_about_estimates(tables, about),
    ]
    blocks = (
        verdict_block(tables.get("verdict", pd.DataFrame())),
        Block("What was named beforehand?", (), (), named),
        Block("What could be wrong?", (), (), doubts),
    )
    lines = [(block.caption, sentence) for block in blocks for sentence in block.sentences]
    lead = (_size_sentence(test, audit, noun, about), *about.notes, "Not for clinical use.")
    return Sheet(f"Summary, {about.title}", lead, blocks, pd.DataFrame(lines, columns=["question", "answer"]))


def verdict_block(verdict: pd.DataFrame) -> Block:
    """Return the sentences and the table of verdicts; `verdict` is empty if the study has none."""
    study = StudyVerdict.of_content(metric_rows.records(verdict)[0]) if len(verdict) else None
    judged = [*verdict_sentences(study), *_margin_sentences(study)] if study else [NO_VERDICT]
    rows = _verdict_rows(study) if study else ()
    return Block("Can the maps be believed?", VERDICT_HEAD if study else (), rows, judged)


def _size_sentence(test: pd.DataFrame, audit: Audit, noun: str, about: StudyDescription) -> str:
    """Return what was trained and tested on how much."""
    models, seeds = len(about.architectures), len(about.seeds)
    return (
        f"{models} architecture{'s'[: models != 1]} with {seeds} seed{'s'[: seeds != 1]} each, {len(about.classes)} classes, "
        f"{audit['images']} images of {audit['groups']} {noun}s; the test part has {len(test)} images of "
        f"{test['group'].nunique()} {noun}s. Brackets hold {100 * about.level:g} % intervals."
    )


def verdict_sentences(study: StudyVerdict) -> list[str]:
    """Return the sentences of each verdict, or how many there are of each kind if there are many."""
    if len(study.methods) <= MANY:
        return [sentence for one in study.methods for sentence in sentences(one)[:2]]
    counts = Counter(one.verdict for one in study.methods)
    listed = ", ".join(f"{name} {counts[name]}" for name in VERDICT_OF.values() if counts[name])
    return [
        f"Verdicts on {len(study.methods)} pairs of method and architecture: {listed}. The table of verdicts has the reasons."
    ]


def _margin_sentences(study: StudyVerdict) -> list[str]:
    """Return how gates are decided, with the margins of this study."""
    margins = [f"{TITLES[gate.name]} {margin_text(gate)}" for one in study.methods[:1] for gate in one.gates]
    return [f"{WHAT} Margins of this study: {', '.join(margins)}."] if margins else []


def _verdict_rows(study: StudyVerdict) -> list[list[Cell]]:
    """Return a line per architecture and method: its verdict, and the result and number of each gate."""
    return [
        [Cell(one.arch), Cell(one.method), Cell(one.verdict), *(_gate_cell(one.gate(name)) for name in TITLES)]
        for one in study.methods
    ]


def _gate_cell(gate: Gate) -> Cell:
    number = number_text(gate)
    return Cell(gate.status + (f": {number}" if number else ""), open_text(gate))


def primary_sentences(contrasts: pd.DataFrame, about: StudyDescription) -> list[str]:
    """Return what the comparison that was named beforehand says, for every architecture, and how many were explored."""
    contrasts = metric_rows.contrasts_with_controls(contrasts)
    asked, others = about.primary, int(contrasts["p_family"].notna().sum()) if len(contrasts) else 0
    what = f"is {asked.method} better than {asked.against} in {display_label(asked.metric, about.metrics)}?"
    own = _with_gains(contrasts[contrasts["primary"].astype(bool)], about) if len(contrasts) else contrasts
    own = metric_rows.rows_of_metric(own, asked.metric) if len(own) else own
    if own.empty:
        return [f"Named beforehand: {what} There is no such comparison, so nothing is confirmed."]
    rows = metric_rows.index_rows(own, "arch")
    found = [f"On {arch} {_primary_verdict(rows[arch], about)}." for arch in about.architectures if arch in rows]
    tested = int(own["p"].notna().sum())
    explored = f"All other comparisons are exploratory ({others - tested} with a test): the table of maps has them."
    return [f"Named beforehand: {what} {' '.join(found)}", explored if others else "No comparison has a test."]


def _primary_verdict(row: TableRow, about: StudyDescription) -> str:
    gain = estimate_text(
        {**row, "value": row["gain"], "low": row["gain_low"], "high": row["gain_high"]}, 3, signed=True
    )
    if pd.isna(row["gain"]):
        return f"undefined ({row['reason']})"
    if pd.isna(row["p"]):
        return f"undecided: gain {gain} ({row['reason']})"
    sure = row["p"] < 1 - about.level
    word = ("yes" if row["gain"] > 0 else "no, it is worse") if sure else "undecided"
    return f"{word}: gain {gain}{p_value_text(row['p'])}"


def _with_gains(contrasts: pd.DataFrame, about: StudyDescription) -> pd.DataFrame:
    """Return contrasts of metrics of which one end is better, with the difference turned so that above 0 is better."""
    contrasts = metric_rows.with_family_intervals(contrasts)
    sign = contrasts["metric"].map(about.better).map(SIGN_OF_BETTER).astype(float)
    low, high = (
        contrasts["low"].where(sign > 0, -contrasts["high"]),
        contrasts["high"].where(sign > 0, -contrasts["low"]),
    )
    gains = contrasts.assign(gain=sign * contrasts["value"], gain_low=low, gain_high=high)
    return gains[sign.notna() & (sign != 0)]


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
