"""Shared sentences in a study of tables: no sentence speaks of images or maps, and no label is changed."""

import re

import pandas as pd
import pytest
from typed import described

from gradfaith.reporting.figures import theme
from gradfaith.reporting.row_words import in_rows, reword_figure
from gradfaith.reporting.tables import ranks
from gradfaith.reporting.tables.contract import Block, Cell, Sheet, reword
from gradfaith.reporting.tables.maps import COUNTED
from gradfaith.reporting.tables.summary_of_rows import tabulate
from gradfaith.stats import gates, verdict
from gradfaith.stats.intervals import ESTIMAND

OF_IMAGES = re.compile(r"\b(images?|maps?|patients?|networks?|scanners?|Faith)\b(?!\.csv)", re.I)
ESTIMATE = {"n_images": 12, "value": 0.5, "low": 0.4, "by": "", "arch": "linear", "arch2": "", "interval": "over groups and seeds",
            "method": "lime", "reason": "", "n_ok": 12, "n_undefined": 0, "n_degenerate": 1, "n_failed": 0}  # fmt: skip


def spoken() -> list[str]:
    """Return every sentence that gates and verdicts can say, and the fixed sentences of shared tables."""
    open_gates = tuple(gates.Gate(name, status, ">", 0.1, "m", "", "why", ()) for name in gates.RELATIONS for status in gates.SEVERITY)  # fmt: skip
    found = [
        *verdict.TITLES.values(),
        *verdict.FAILURES.values(),
        *gates.NO_NUMBER.values(),
        ESTIMAND,
        COUNTED,
        ranks.WHAT,
    ]
    for name in verdict.VERDICT_OF.values():
        if name != "fail":
            found.append(verdict._statement("the maps of lime on linear", name, open_gates))
        found.append(verdict._not_to_conclude(name, open_gates))
        found.append(verdict._not_to_conclude(name, ()))
    return found


@pytest.mark.parametrize("sentence", spoken())
def test_no_shared_sentence_speaks_of_images(sentence: str) -> None:
    said = in_rows(sentence)
    assert not OF_IMAGES.search(said.replace("`randomisation`", "")), said
    assert in_rows(said) == said


def test_labels_files_and_the_study_s_own_title_stay() -> None:
    for label in ("lime-map", "image_size", "map_width", "maps.csv"):
        assert in_rows(f"on {label} and its maps") == f"on {label} and its attributions"
    block = Block(
        "a: differences paired by image",
        ("method", "images"),
        [[Cell("lime-map"), Cell("3", "no maps")]],
        ["2 images."],
    )
    sheet = Sheet("Maps, images of maps", ("an image",), (block,), pd.DataFrame({"image": ["map"]}))
    said = reword(sheet, in_rows, "images of maps")
    assert said.title == "Attributions, images of maps"
    assert said.blocks[0].header == ("method", "rows")
    assert said.blocks[0].rows == [[Cell("lime-map"), Cell("3", "no attributions")]]
    assert said.data is sheet.data


def test_a_figure_s_notes_and_legends_are_changed() -> None:
    figure = theme.new_page(2)
    figure.subplots().set_title("the same maps, shuffled")
    theme.add_note(figure, "Each number rests on 12 images.")
    reword_figure(figure)
    assert figure.axes[0].get_title() == "the same attributions, shuffled"
    assert figure.get_supxlabel() == "Each number rests on 12 rows."


def test_the_first_page_counts_rows_and_names_what_the_audit_found() -> None:
    manifest = pd.DataFrame({"image_id": ["a", "b", "c"], "group": ["p", "p", "q"], "group_kind": "group"})
    audit = {"images": 3, "groups": 2, "group_kind": "group", "left_out": {"map id": "identifier"}, "duplicates": 0,
             "duplicates_across_the_split": {"rows": 0}, "groups_across_the_split": 0}  # fmt: skip
    blank = {"contrasts": ["comparison", "primary", "metric"], "classification": ["class", "metric", "arch", "low"]}
    tables = {
        "manifest": manifest,
        "splits": manifest[["image_id"]].assign(part=["train", "test", "test"]),
        "audit": pd.DataFrame([audit]),
        "estimates": pd.DataFrame([ESTIMATE]),
        **{name: pd.DataFrame(columns=heads) for name, heads in blank.items()},
    }
    about = described(
        {
            "architectures": ["linear"],
            "seeds": [0, 1, 2],
            "of_table": True,
            "title": "mine",
            "classes": ["negative", "positive"],
        }
    )
    sheet = tabulate(tables, about)
    assert sheet.lead[0].startswith(
        "1 kind of model with 3 seeds each; 3 rows of 2 groups. The test part has 2 rows of 2 groups; 12"
    )
    assert sheet.blocks[0].caption == "Can the attributions be believed?"
    said = " ".join(sheet.data["answer"])
    assert "Columns that no model sees: map id." in said
    assert "constant attributions: lime on linear (1 of 13)" in said
    assert not OF_IMAGES.search(said.replace("map id", ""))
