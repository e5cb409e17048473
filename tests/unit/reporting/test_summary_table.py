"""The first page of a study: every sentence says what its table holds, and what is not known is said so."""

import numpy as np
import pandas as pd
import pytest
from small_study import ABOUT, ARCHS, AUDIT, SmallStudy
from typed import described

from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting.tables import comparisons, contract, summary
from gradfaith.reporting.tables.contract import Sheet
from gradfaith.storage import parquet

Tables = dict[str, pd.DataFrame]
WITHOUT_INTERVAL = {"low": np.nan, "high": np.nan, "reason": "4 groups, an interval needs 8"}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    study = SmallStudy(tmp_path_factory.mktemp("summary"))
    read = {"classification", "estimates", "contrasts", "manifest", "splits"}
    found = {name: parquet.read(study.inputs[name], getattr(parquet, name.upper())) for name in read}
    return found | {"audit": pd.DataFrame([AUDIT])}


def about(**other: object) -> StudyDescription:
    return described(ABOUT | other)


def page(tables: Tables, **other: object) -> Sheet:
    return summary.tabulate(tables, about(**other))


def answers(sheet: Sheet, place: int) -> str:
    return " ".join(sheet.blocks[place].sentences)


def rates(value: float, low: float, high: float, reason: str = "") -> pd.DataFrame:
    row = {
        "arch": ARCHS[0],
        "metric": "balanced_accuracy",
        "class": "macro",
        "value": value,
        "low": low,
        "high": high,
        "reason": reason,
    }
    return pd.DataFrame([row])


def contrast(against: str, value: float, p: float, **other: object) -> dict[str, object]:
    ends = {"low": value - 0.1, "high": value + 0.1} if pd.notna(p) else {"low": np.nan, "high": np.nan}
    family = {"p_family": p} | {f"{end}_family": number for end, number in ends.items()}
    blank = {"variant": "", "reason": "", "primary": False, "arch": ARCHS[0], "method": "gradcam", "metric": "locacc"}
    blank |= {"comparison": "control", "label": ""}
    return {**blank, "against": against, "value": value, **ends, "p": p, **family, **other}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ((0.6, 0.5, 0.7), "resnet10t classifies better than chance: balanced accuracy 0.60 [0.50, 0.70], chance 0.33."),
        ((0.4, 0.3, 0.5), "resnet10t: undecided whether it classifies better than chance: balanced accuracy 0.40"),
        ((0.2, 0.1, 0.3), "resnet10t is worse than chance: balanced accuracy 0.20"),
        (
            (0.6, np.nan, np.nan, "4 groups"),
            "undecided whether it classifies better than chance, as there is no interval (4 groups)",
        ),
        ((np.nan, np.nan, np.nan, "no image"), "resnet10t: undefined (no image): balanced accuracy undefined"),
    ],
)
def test_a_model_classifies_only_if_its_interval_is_above_chance(row: tuple[float, ...], said: str) -> None:
    labels = pd.Series(["normal", "normal", "benign"])
    (sentence,) = summary.classification_sentences(rates(*row), labels, about(architectures=ARCHS[:1]))
    assert said in sentence


def test_accuracy_stands_beside_the_most_frequent_class() -> None:
    table = pd.concat([rates(0.6, 0.5, 0.7), rates(0.8, 0.7, 0.9).assign(metric="accuracy")])
    labels = pd.Series(["normal", "normal", "normal", "benign"])
    (sentence,) = summary.classification_sentences(table, labels, about(architectures=ARCHS[:1]))
    assert sentence.endswith("accuracy 0.80 [0.70, 0.90], most frequent class 0.75.")


def test_a_model_without_numbers_is_named(tables: Tables) -> None:
    said = summary.classification_sentences(
        tables["classification"], pd.Series(["normal"]), about(architectures=["vit"])
    )
    assert said == ["vit: the study has no numbers on how well it classifies."]


def test_the_page_says_what_the_contrasts_of_the_study_say(tables: Tables) -> None:
    sheet, table = page(tables), tables["contrasts"]
    labels = {
        "LocAcc": "locacc",
        "Saliency score": "saliency_score",
        "Area-matched IoU": "iou_area_matched",
        "Faith": "faith",
    }
    for line in sheet.blocks[1].rows:
        arch, method, metric, beaten, hardest, _, missed = (cell.text for cell in line)
        own = table[(table["arch"] == arch) & (table["method"] == method) & (table["metric"] == labels[metric])]
        own = own[own["variant"].isin(["", "black"])]
        better = set(own.query("value > 0 and p_family < 0.05")["against"])
        assert beaten == f"{len(better)} of {len(own)}"
        assert set(missed.split(", ")) - {"none"} == set(own["against"]) - better
        assert hardest == own.sort_values("value")["against"].iloc[0]
        assert f"{beaten} in {metric}" in answers(sheet, 1).replace(" controls", "")
    assert {line[0].text for line in sheet.blocks[1].rows} == set(ARCHS)


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
    (sentence, *_) = comparisons.primary_sentences(pd.DataFrame([row]), about(better={"saliency_score": better}))
    assert f"On resnet10t {said}" in sentence


def test_a_study_without_its_primary_comparison_confirms_nothing(tables: Tables) -> None:
    other = tables["contrasts"].assign(primary=False)
    assert "so nothing is confirmed" in page(tables | {"contrasts": other}).blocks[1].sentences[0]
    empty = page(tables | {"contrasts": tables["contrasts"][:0]})
    assert "No method was compared with a control." in empty.blocks[1].sentences


def test_a_control_that_is_better_is_named_and_an_untested_metric_is_undecided() -> None:
    rows = [contrast("centre", -0.3, 0.001), contrast("random", 0.3, 0.001), contrast("edges", 0.1, 0.9)]
    rows += [contrast("centre", 0.2, np.nan, metric="faith", variant="black", reason="4 groups")]
    found = comparisons.compare_with_controls(pd.DataFrame(rows), about(better={"locacc": "higher", "faith": "higher"}))
    (sentence,) = comparisons.comparison_sentences(found)
    assert sentence == (
        "gradcam on resnet10t: better than 1 of 3 controls in LocAcc; worse than centre in LocAcc; "
        "undecided in Faith, as no comparison has a test (4 groups)."
    )


def test_lower_is_better_turns_the_difference_round() -> None:
    rows = pd.DataFrame([contrast("centre", -0.3, 0.001), contrast("random", 0.3, 0.001)])
    (one,) = comparisons.compare_with_controls(rows, about(better={"locacc": "lower"}))
    assert (one.beaten, one.better, one.not_beaten) == (["centre"], ["random"], ["random"])
    assert one.rows[1]["gain"] == pytest.approx(0.3)
    assert (one.rows[1]["gain_low"], one.rows[1]["gain_high"]) == pytest.approx((0.2, 0.4))


def test_many_methods_are_counted_by_metric() -> None:
    rows = [contrast("centre", 0.3 * (number > 0), 0.001, method=f"m{number}") for number in range(6)]
    found = comparisons.compare_with_controls(pd.DataFrame(rows), about(better={"locacc": "higher"}))
    (sentence,) = comparisons.comparison_sentences(found)
    assert (
        sentence == "LocAcc on resnet10t: 5 of 6 methods are better than all their controls; 1 better than none (m0)."
    )


def test_agreement_is_not_compared_with_controls_that_cannot_disagree(tables: Tables) -> None:
    assert "consist" in set(tables["contrasts"]["metric"])
    assert "Consist" not in contract.markdown(page(tables))


def test_nothing_is_said_about_tumours_where_there_are_no_masks(tables: Tables) -> None:
    sheet = page(tables, evidence="none")
    assert summary.NO_MASKS in sheet.blocks[1].sentences
    assert {line[2].text for line in sheet.blocks[1].rows} == {"Faith"}
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
        for name in ("Do the models classify?", "What could be wrong?")
    )
