"""The table of the metrics judged says what was found, in the order in which they rank, with all counts."""

import io

import pandas as pd
import pytest
import small_meta
from test_maps_table import pipes
from typed import described

from gradfaith.reporting.tables import contract as sheet_tables
from gradfaith.reporting.tables import meta as meta_tables
from gradfaith.reporting.tables.contract import Sheet
from gradfaith.storage import parquet

ABOUT = {
    "title": "a phantom", "architectures": ["a", "b"], "level": 0.95, "notes": ["A note."], "better": small_meta.BETTER, "metrics": {},
    "controls": list(small_meta.CONTROLS),
}  # fmt: skip
LABELS = ("normal", "benign", "malignant")


@pytest.fixture(scope="module")
def found() -> pd.DataFrame:
    images = pd.DataFrame(
        [(f"i{g}", f"g{g}", LABELS[g % 3]) for g in range(30)], columns=["image_id", "group", "label"]
    )
    return small_meta.judged(small_meta.scores(images, ["a", "b"], [0]))


@pytest.fixture(scope="module")
def sheet(found: pd.DataFrame) -> Sheet:
    return meta_tables.tabulate({"meta": found}, described(ABOUT))


@pytest.fixture(scope="module")
def text(sheet: Sheet) -> str:
    return sheet_tables.markdown(sheet)


def one(found: pd.DataFrame, **where: str) -> pd.Series:
    default = {"view": "image", "truth": "saliency_score", "arch": "", "who": "methods", "measure": "spearman"}
    own = found
    for name, value in {**default, **where}.items():
        own = own[own[name] == value]
    assert len(own) == 1
    return own.iloc[0]


def test_a_line_says_what_was_found_and_how_much_it_rests_on(found: pd.DataFrame, text: str) -> None:
    row = one(found, metric="road", variant="noisy_linear")
    line = next(
        line
        for line in pipes(text, "Beside Saliency score, within an image")
        if line["metric"] == "ROAD (noisy_linear)"
    )
    assert line["methods: Spearman"] == f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    assert [line[name] for name in ("methods", "images", "groups", "undefined", "order only")] == [
        str(row["n_methods"]), str(row["n_images"]), str(row["n_groups"]), str(row["n_undefined"]), "yes",
    ]  # fmt: skip
    assert (row["n_methods"], row["n_images"]) == (5, row["n_groups"])
    wrong = int(row["n_wrong"])
    assert f"{wrong} images with evidence" in text
    assert 0 < wrong < 20


def test_metrics_stand_in_the_order_of_how_they_rank(text: str) -> None:
    lines = pipes(text, "Beside Saliency score, within an image")
    values = [float(line["methods: Spearman"].split()[0]) for line in lines]
    assert values == sorted(values, reverse=True)
    assert lines[-1]["metric"] == "Average drop (black)"
    assert "Saliency score" not in {line["metric"] for line in lines}, "the truth does not judge itself"
    assert "Saliency score" in {line["metric"] for line in pipes(text, "Beside Cosine, over cells")}


def test_each_metric_stands_beside_the_one_that_was_asked_for(text: str) -> None:
    lines = {line["metric"]: line for line in pipes(text, "Beside Saliency score, within an image")}
    assert lines["ROAD (noisy_linear)"]["methods: Spearman minus that of ROAD"] == "-"
    assert float(lines["Average drop (black)"]["methods: Spearman minus that of ROAD"].split()[0]) < 0


def test_a_metric_that_is_fooled_names_the_controls(text: str) -> None:
    lines = {line["metric"]: line for line in pipes(text, "Controls that fool each metric, all architectures")}
    assert lines["Average drop (black)"] == {
        "metric": "Average drop (black)", "above the median method": "uniform", "above the best method": "uniform",
    }  # fmt: skip
    assert lines["Saliency score"]["above the median method"] == "none"


def test_other_variants_have_a_block_and_metrics_without_a_better_end_a_sentence(text: str) -> None:
    others = pipes(text, "Beside Saliency score, other variants, methods, Spearman")
    assert {line["metric"] for line in others} == {"ROAD (black)", "Deletion (black)"}
    assert "Not evaluated, because neither high nor low is better: Border share." in text
    assert "A note." in text


def test_below_eight_groups_no_verdict_is_given(found: pd.DataFrame) -> None:
    few = found.assign(low=float("nan"), high=float("nan"), reason="4 groups, an interval needs 8", fooled=False)
    lines = pipes(
        sheet_tables.markdown(meta_tables.tabulate({"meta": few}, described(ABOUT))),
        "Controls that fool each metric, all architectures",
    )
    assert {line["above the best method"] for line in lines} == {"no interval"}


def test_the_csv_holds_every_row_and_latex_is_made_of_it(found: pd.DataFrame, sheet: Sheet) -> None:
    assert len(pd.read_csv(io.StringIO(sheet_tables.csv(sheet)))) == len(found)
    assert r"\begin{tabular}" in sheet_tables.latex(sheet)


def test_it_survives_its_file(found: pd.DataFrame, tmp_path) -> None:
    parquet.write(tmp_path / "meta.parquet", found, parquet.META)
    again = parquet.read(tmp_path / "meta.parquet", parquet.META)
    assert again["fooled"].tolist() == found["fooled"].tolist()
    assert sheet_tables.markdown(meta_tables.tabulate({"meta": again}, described(ABOUT))) == sheet_tables.markdown(
        meta_tables.tabulate({"meta": found}, described(ABOUT))
    )


def test_chance_levels_and_other_parts_of_the_split_are_not_judged(found: pd.DataFrame) -> None:
    images = pd.DataFrame(
        [(f"i{g}", f"g{g}", LABELS[g % 3]) for g in range(30)], columns=["image_id", "group", "label"]
    )
    own = small_meta.scores(images, ["a", "b"], [0])
    more = [own, own.assign(part="val", value=9.0), own[:50].assign(metric="consist", arch2="a", seed2=1)]
    pd.testing.assert_frame_equal(small_meta.judged(pd.concat(more, ignore_index=True)), found)
