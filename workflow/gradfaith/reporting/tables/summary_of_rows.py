"""The first page of a study of tables: the verdicts, the comparison named beforehand, and what could be wrong.

The sentences are those of the first page of a study of images (summary.py), in the words of a study of tables. What could be
wrong with the data are the sentences of the audit of the columns.
"""

from collections.abc import Mapping

import pandas as pd

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting import metric_rows
from gradfaith.reporting.row_words import in_rows
from gradfaith.reporting.tables import columns, summary
from gradfaith.reporting.tables.contract import Block, Sheet, Table, reword_block

TABLE = Table(
    needs=("classification", "estimates", "contrasts", "manifest", "splits", "audit", "verdict"),
    study_key="table",
    section="Summary",
    place=3,
    title="Summary",
)


def tabulate(tables: Mapping[str, pd.DataFrame], about: StudyDescription) -> Sheet:
    """Return the study's headline numbers as sentences, and one table of verdicts."""
    test = tables["manifest"].merge(tables["splits"].query("part == 'test'"), on="image_id")
    (audit,) = metric_rows.records(tables["audit"])
    doubts = [*columns.sentences(audit), *map(in_rows, summary.doubts_about_estimates(tables, about))]
    blocks = (
        reword_block(summary.verdict_block(tables.get("verdict", pd.DataFrame())), in_rows),
        Block(
            "What was named beforehand?", (), (), [*map(in_rows, summary.primary_sentences(tables["contrasts"], about))]
        ),
        Block("What could be wrong?", (), (), doubts),
    )
    lines = [(block.caption, sentence) for block in blocks for sentence in block.sentences]
    lead = (_size_sentence(test, tables["estimates"], audit, about), *about.notes, "Not for clinical use.")
    return Sheet(f"Summary, {about.title}", lead, blocks, pd.DataFrame(lines, columns=["question", "answer"]))


def _size_sentence(
    test: pd.DataFrame, estimates: pd.DataFrame, audit: Mapping[str, object], about: StudyDescription
) -> str:
    """Return what was trained, tested and explained on how much."""
    models, seeds = len(about.architectures), len(about.seeds)
    explained = int(estimates["n_images"].max())
    return (
        f"{models} kind{'s'[: models != 1]} of model with {seeds} seed{'s'[: seeds != 1]} each; {audit['images']} rows of "
        f"{audit['groups']} groups. The test part has {len(test)} rows of {test['group'].nunique()} groups; {explained} of these "
        f"rows are explained. Brackets hold {100 * about.level:g} % intervals."
    )
