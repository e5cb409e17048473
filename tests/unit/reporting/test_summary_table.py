"""The first page of a study: every sentence says what its table holds, and what is not known is said so."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from small_audit import AUDIT
from small_study import ABOUT, ARCHS, SmallStudy
from typed import described

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting.tables import contract, summary
from gradfaith.reporting.tables.contract import Sheet
from gradfaith.stats.verdict import TITLES, StudyVerdict
from gradfaith.storage import json_file, parquet

Tables = dict[str, pd.DataFrame]
WITHOUT_INTERVAL = {"low": np.nan, "high": np.nan, "reason": "4 groups, an interval needs 8"}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    study = SmallStudy(tmp_path_factory.mktemp("summary"))
    read = {"classification", "estimates", "contrasts", "manifest", "splits"}
    found = {name: parquet.read(study.inputs[name], getattr(parquet, name.upper())) for name in read}
    verdict = json_file.read(str(study.inputs["verdict"]))
    return found | {"audit": pd.DataFrame([AUDIT]), "verdict": pd.DataFrame([verdict])}


def about(**other: object) -> StudyDescription:
    return described(ABOUT | other)


def page(tables: Tables, **other: object) -> Sheet:
    return summary.tabulate(tables, about(**other))


def answers(sheet: Sheet, place: int) -> str:
    return " ".join(sheet.blocks[place].sentences)


def contrast(against: str, value: float, p: float, **other: object) -> dict[str, object]:
    ends = {"low": value - 0.1, "high": value + 0.1} if pd.notna(p) else {"low": np.nan, "high": np.nan}
    family = {"p_family": p} | {f"{end}_family": number for end, number in ends.items()}
    blank = {"variant": "", "reason": "", "primary": False, "arch": ARCHS[0], "method": "gradcam", "metric": "locacc"}
    blank |= {"comparison": "control", "label": ""}
    return {**blank, "against": against, "value": value, **ends, "p": p, **family, **other}


def test_the_page_shows_the_verdict_and_every_gate(tables: Tables) -> None:
    sheet = page(tables)
    study = StudyVerdict.of_content(tables["verdict"].iloc[0].to_dict())
    block = sheet.blocks[0]
    assert block.caption == "Can the maps be believed?"
    assert [[cell.text for cell in line[:3]] for line in block.rows] == [
        [one.arch, one.method, one.verdict] for one in study.methods
    ]
    for one, line in zip(study.methods, block.rows, strict=True):
        assert [cell.text.split(":")[0] for cell in line[3:]] == [one.gate(name).status for name in TITLES]
        assert one.statement in block.sentences
        assert one.not_to_conclude in block.sentences
    assert "2 seeds, and this gate needs 3" in sheet.footnotes
    assert "localization low > 0, gain in Faith low > 0.05" in answers(sheet, 0)


def test_many_verdicts_are_counted(tables: Tables) -> None:
    content = tables["verdict"].iloc[0].to_dict()
    many = pd.DataFrame([content | {"methods": content["methods"] * 4}])
    counts = Counter(one["verdict"] for one in content["methods"])
    said = page(tables | {"verdict": many}).blocks[0].sentences[0]
    assert said.startswith("Verdicts on 8 pairs of method and architecture: ")
    assert all(f"{name} {4 * count}" in said for name, count in counts.items())


def test_a_study_without_a_verdict_says_so(tables: Tables) -> None:
    sheet = page(tables | {"verdict": pd.DataFrame()})
    assert sheet.blocks[0].sentences == [summary.NO_VERDICT]
    assert not sheet.blocks[0].header


def test_the_primary_comparison_is_read_at_its_own_p_on_every_model(tables: Tables) -> None:
    primary = tables["contrasts"].query("primary").set_index("arch")
    assert set(primary.index) == set(ARCHS)
    said = page(tables).blocks[1].sentences[0]
    assert said.startswith(
        "Named beforehand: is gradcam better than random-grid in Saliency score? On resnet10t yes: gain +0."
    )
    for arch in ARCHS:
        assert f"On {arch} yes: gain {primary.loc[arch, 'value']:+.3f} [{primary.loc[arch, 'low_family']:.3f}," in said


@pytest.mark.parametrize(
    ("value", "p", "better", "said"),
    [
        (0.3, 0.01, "higher", "yes: gain +0.300 [0.200, 0.400], p = 0.010"),
        (0.3, 0.01, "lower", "no, it is worse: gain -0.300 [-0.400, -0.200], p = 0.010"),
        (0.3, 0.20, "higher", "undecided: gain +0.300"),
        (0.3, np.nan, "higher", "undecided: gain +0.300 (4 groups)"),
        (np.nan, np.nan, "higher", "undefined (4 groups)"),
    ],
)
def test_the_verdict_on_the_primary_comparison(value: float, p: float, better: str, said: str) -> None:
    row = contrast(
        "random-grid", value, p, metric="saliency_score", primary=True, reason="" if pd.notna(p) else "4 groups"
    )
    (sentence, *_) = summary.primary_sentences(pd.DataFrame([row]), about(better={"saliency_score": better}))
    assert f"On resnet10t {said}" in sentence


def test_a_study_without_its_primary_comparison_confirms_nothing(tables: Tables) -> None:
    other = tables["contrasts"].assign(primary=False)
    assert "so nothing is confirmed" in page(tables | {"contrasts": other}).blocks[1].sentences[0]
    empty = page(tables | {"contrasts": tables["contrasts"][:0]})
    assert "so nothing is confirmed" in empty.blocks[1].sentences[0]


def test_nothing_is_said_about_tumours_where_there_are_no_masks(tables: Tables) -> None:
    sheet = page(tables, evidence="none")
    assert summary.NO_MASKS in sheet.blocks[1].sentences
    assert summary.NO_MASKS not in page(tables).blocks[1].sentences


def test_what_could_be_wrong_is_counted_from_the_tables(tables: Tables) -> None:
    sound = answers(page(tables), 2)
    assert (
        "reaches a balanced accuracy of 0.40 on this split, 0.90 on a random split of the slices (chance 0.33)" in sound
    )
    assert "noise alone (in the files) tells malignant from the other classes with a balanced accuracy of 0.80" in sound
    assert "1 across classes, 0 across parts of the split" in sound
    assert "No method lost scores to constant maps." in sound
    assert "have no interval" not in sound
    lost = tables["estimates"].assign(n_degenerate=np.where(tables["estimates"]["method"] == "gradcam", 5, 0))
    few = lost.assign(**WITHOUT_INTERVAL)
    weak = tables["classification"].assign(**WITHOUT_INTERVAL)
    doubts = answers(page(tables | {"estimates": few, "classification": weak}), 2)
    assert "Scores lost to constant maps: gradcam on " in doubts
    assert "averages of scores have no interval; most often the reason is: 4 groups, an interval needs 8." in doubts
    assert f"Not shown to classify better than chance: {', '.join(ARCHS)}." in doubts


def test_intervals_that_hold_for_these_models_only_are_counted(tables: Tables) -> None:
    only = tables["estimates"].assign(interval="cluster-t over groups")
    assert "do not cover the choice of the seed" in answers(page(tables | {"estimates": only}), 2)


def test_the_csv_has_a_line_per_sentence_and_the_page_a_list(tables: Tables) -> None:
    sheet = page(tables)
    sentences = [sentence for block in sheet.blocks for sentence in block.sentences]
    assert list(sheet.data["answer"]) == sentences
    assert contract.html(sheet).count("<li>") == contract.markdown(sheet).count("\n- ") == len(sentences)
    assert all(
        rf"\paragraph{{{name}}}" in contract.latex(sheet)
        for name in ("What was named beforehand?", "What could be wrong?")
    )
