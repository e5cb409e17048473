"""The tables and the figure of "How to evaluate and refine your CAM": their layout, and numbers that are those of the estimates."""

import numpy as np
import pandas as pd
import pytest
from typed import described
from whole_scores import contrasts_of

from gradfaith.reporting.figures import trivial_maps
from gradfaith.reporting.tables import aggregations, refined_methods, size_ranges
from gradfaith.stats.classification import estimate_classification
from gradfaith.stats.estimates import estimate_scores

ARCHS, METRICS = ["net_a", "net_b"], {"arcc": "higher", "road": "higher"}
LEVELS = {  # the product is better than its base, except for layercam
    "gradcam_pp": 0.3, "gradcam_pp-early": 0.2, "refine-gradcam_pp": 0.6, "geometric-gradcam_pp": 0.5, "layercam": 0.5,
    "layercam-early": 0.55, "refine-layercam": 0.4, "lime": 0.1, "half": 0.05, "random": 0.02, "centre": 0.3,
    "shuffled-gradcam_pp": 0.1,
}  # fmt: skip
REFINED = {
    "refine-gradcam_pp": ("gradcam_pp", "product"),
    "geometric-gradcam_pp": ("gradcam_pp", "geometric"),
    "refine-layercam": ("layercam", "product"),
}
ABOUT = {
    "title": "a study", "classes": ["a", "b"], "architectures": ARCHS, "seeds": [0, 1, 2], "controls": ["half", "random", "centre"],
    "level": 0.95, "min_groups": 8, "better": METRICS, "metrics": {name: name for name in METRICS},
    "refinements": {
        label: {"of": of, "combine": combine, "same_layer": f"{of}-early", "last_layer": of}
        for label, (of, combine) in REFINED.items()
    },
}  # fmt: skip
Tables = dict[str, pd.DataFrame]


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    table = pd.DataFrame(
        [
            (arch, method, metric, seed, f"i{image}", f"g{image // 2}", level + draw.normal(0, 0.05))
            for arch in ARCHS for method, level in LEVELS.items() for metric in METRICS for seed in range(3) for image in range(20)
            if (arch, method) != ("net_b", "lime")
        ],
        columns=["arch", "method", "metric", "seed", "image_id", "group", "value"],
    )  # fmt: skip
    blank = {"arch2": "", "seed2": pd.NA, "copy": 0, "layer": "", "target": "predicted", "reason": "", "variant": ""}
    table = table.assign(**blank, status="ok", label="a").astype({"seed2": "Int64"})
    return table.replace({"method": {"lime": "lime_literature"}})


@pytest.fixture(scope="module")
def tables(scores: pd.DataFrame) -> Tables:
    contrasts = contrasts_of(scores, ABOUT["controls"], METRICS)
    return {"estimates": estimate_scores([scores]), "contrasts": contrasts}


def number(tables: Tables, arch: str, method: str, metric: str = "arcc") -> str:
    (row,) = (
        tables["estimates"]
        .query("arch == @arch and method == @method and metric == @metric and by == ''")
        .to_dict("records")
    )
    return f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def test_table_one_has_base_and_refined_side_by_side(tables: Tables) -> None:
    block = refined_methods.tabulate(tables, described(ABOUT)).blocks[0]
    assert list(block.header) == ["method", *(f"{arch}: {arm}" for arch in ARCHS for arm in refined_methods.ARMS)]
    lines = {row[0].text: row for row in block.rows}
    assert list(lines) == ["gradcam_pp", "layercam", "lime", "random", "half"]
    expected = [
        number(tables, arch, f"{name}gradcam_pp{end}")
        for arch in ARCHS
        for name, end in (("", "-early"), ("refine-", ""), ("", ""))
    ]
    assert [cell.text for cell in lines["gradcam_pp"][1:]] == expected
    assert [cell.text for cell in lines["lime"][1:]][1:] == ["N.A.", "N.A.", "-", "N.A.", "N.A."]
    assert lines["lime"][1].footnote == refined_methods.VARIANT_NOTE
    assert lines["gradcam_pp"][1].footnote == ""


def test_differences_are_refined_minus_base_in_either_order(tables: Tables) -> None:
    _, differences, best = refined_methods.tabulate(tables, described(ABOUT)).blocks
    assert differences.header[1] == "net_a: refined minus base"
    signs = {row[0].text: [cell.text[0] for cell in row[1:]] for row in differences.rows}
    assert signs == {"gradcam_pp": ["+"] * 4, "layercam": ["-"] * 4}
    values = tables["estimates"].query("arch == 'net_a' and metric == 'arcc' and by == ''").set_index("method")["value"]
    gain = values["refine-layercam"] - values["layercam-early"]
    assert differences.rows[1][1].text.startswith(f"{gain:+.2f} [")
    low, high = map(float, differences.rows[1][1].text.partition("[")[2].rstrip("]").split(", "))
    assert low < gain < high < 0
    assert [cell.text.partition(":")[0] for cell in best.rows[0][1:]] == [
        "layercam-early",
        "refine-gradcam_pp",
        "layercam",
    ]


def test_table_two_has_the_columns_of_the_paper(tables: Tables) -> None:
    blocks = aggregations.tabulate(tables, described(ABOUT)).blocks
    assert [block.caption for block in blocks] == ["ARCC", "ROAD"]
    assert list(blocks[0].header) == ["method", "architecture", "inverse-exp mean", "geometric mean", "product"]
    assert [cell.text for cell in blocks[0].rows[0]] == [
        "gradcam_pp", "net_a", "-", number(tables, "net_a", "geometric-gradcam_pp"), number(tables, "net_a", "refine-gradcam_pp"),
    ]  # fmt: skip
    assert [blocks[0].sentences, blocks[1].sentences] == [(), (aggregations.ORDER_ONLY,)]


def test_a_study_without_refinements_has_an_empty_table(tables: Tables) -> None:
    about = described({**ABOUT, "refinements": {}, "metrics": {}, "better": {}})
    sheet = refined_methods.tabulate({**tables, "estimates": tables["estimates"].query("metric == 'road'")}, about)
    assert sheet.blocks == []
    assert aggregations.tabulate(tables, about).blocks[0].rows == []


def test_accuracy_by_size_is_that_of_the_images_of_the_size() -> None:
    draw = np.random.default_rng(1)
    images = pd.DataFrame({"image_id": [f"i{n}" for n in range(60)], "group": [f"g{n // 3}" for n in range(60)]})
    images["lesion_kind"] = ["small", "large", "medium"] * 20
    images["label"] = ["a", "b"] * 30
    rows = []
    for arch in ARCHS:
        for seed in range(3):
            right = (images["lesion_kind"] != "small") | (draw.random(60) < 0.5)
            predicted = images["label"].where(right, images["label"].map({"a": "b", "b": "a"}))
            rows.append(
                images.drop(columns="lesion_kind").assign(arch=arch, seed=seed, predicted=predicted, part="test")
            )
    predictions = pd.concat([*rows, rows[0].assign(part="train", predicted="a")])
    found = {"predictions": predictions, "manifest": images}
    block, _ = size_ranges.tabulate(found, described(ABOUT)).blocks
    assert list(block.header) == ["architecture", "small", "medium", "large"]
    small = predictions[predictions["image_id"].isin(images.loc[images["lesion_kind"] == "small", "image_id"])]
    row = estimate_classification(small, ["a", "b"]).query("arch == 'net_a' and metric == 'accuracy'").iloc[0]
    assert block.rows[0][1].text == f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
    assert block.rows[0][3].text.startswith("1.00")
    nothing = size_ranges.tabulate({**found, "manifest": images.assign(lesion_kind="")}, described(ABOUT))
    assert nothing.lead == (size_ranges.NOTHING,)


def test_the_figure_prefers_early_maps() -> None:
    assert trivial_maps.paper_methods(["layercam", "layercam-early", "gradcam_pp"]) == ["gradcam_pp", "layercam-early"]
    assert trivial_maps.paper_methods(["gradcam", "scorecam"]) == ["scorecam"]
