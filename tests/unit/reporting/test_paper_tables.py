"""Tables in a paper's layout: the paper's columns in its order, and numbers that are those of the estimates."""

import numpy as np
import pandas as pd
import pytest
from typed import described

from gradfaith.reporting.figures.layers import labels_by_depth
from gradfaith.reporting.tables import localization, maps, performance
from gradfaith.stats.classification import estimate_classification
from gradfaith.stats.estimates import estimate_scores

CLASSES, ARCHS = ["normal", "nodule"], ["net_a", "net_b"]
METRICS = ("locacc", "saliency_score", "iou", "recall", "precision", "f1", "faith")
ABOUT = {
    "title": "a study", "classes": CLASSES, "architectures": ARCHS, "seeds": [0], "controls": ["centre"], "level": 0.95,
    "min_groups": 8, "better": dict.fromkeys(METRICS, "higher"), "metrics": {name: name for name in METRICS},
    "primary": {"metric": "locacc", "method": "gradcam", "against": "centre"}, "evidence": "mask", "notes": [],
}  # fmt: skip
IMAGES = [(f"i{number}", f"g{number // 2}", CLASSES[number // 2 % 2]) for number in range(24)]


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    draw, rows, answers = np.random.default_rng(0), [], []
    for arch in ARCHS:
        for method, level in {"gradcam": 0.5, "centre": 0.2, "shuffled-gradcam": 0.1}.items():
            rows += [
                (arch, method, metric, image, group, label, level + draw.normal(0, 0.05))
                for metric in METRICS
                for image, group, label in IMAGES
            ]
        answers += [(arch, 0, *image, image[2] if draw.random() < 0.8 else CLASSES[0]) for image in IMAGES]
    scores = pd.DataFrame(rows, columns=["arch", "method", "metric", "image_id", "group", "label", "value"])
    scores = scores.assign(
        seed=0, arch2="", seed2="", copy=0, layer="", target="true", reason="", variant="", status="ok"
    )
    predictions = pd.DataFrame(answers, columns=["arch", "seed", "image_id", "group", "label", "predicted"]).assign(
        part="test", seconds=0.0123, parameters=25_557_032
    )
    return {
        "estimates": estimate_scores([scores], by=("label",)),
        "classification": estimate_classification(predictions, CLASSES),
        "predictions": predictions,
    }


def test_table_one_has_the_columns_of_the_paper(tables: dict[str, pd.DataFrame]) -> None:
    block = performance.tabulate(tables, described(ABOUT)).blocks[0]
    paper = ["Model", "Sensitivity", "Specificity", "Precision", "Recall", "F1-score", "Accuracy", "Time (ms)"]
    assert list(block.header) == [*paper, "Parameters (M)"]
    texts = [cell.text for cell in block.rows[0]]
    macro = tables["classification"].query("arch == 'net_a' and `class` == 'macro' and metric == 'sensitivity'")
    row = macro.iloc[0]
    assert texts[0] == "net_a"
    assert texts[1] == texts[4] == f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
    assert texts[-2:] == ["12", "25.6"]


def test_maps_are_shown_class_by_class(tables: dict[str, pd.DataFrame]) -> None:
    block = performance.tabulate(tables, described(ABOUT)).blocks[1]
    assert list(block.header) == ["Model", "Class", "LocAcc", "Faith"]
    found = tables["estimates"].query(
        "arch == 'net_b' and method == 'gradcam' and metric == 'faith' and by == 'label' and stratum == 'nodule'"
    )
    line = next(row for row in block.rows if (row[0].text, row[1].text) == ("net_b", "nodule"))
    assert line[3].text.startswith(f"{found['value'].iloc[0]:.3f}")
    assert len(block.rows) == len(ARCHS) * len(CLASSES)


def test_without_masks_locacc_is_undefined_with_its_reason(tables: dict[str, pd.DataFrame]) -> None:
    without = {**tables, "estimates": tables["estimates"].query("metric == 'faith'")}
    block = performance.tabulate(without, described({**ABOUT, "evidence": "none"})).blocks[1]
    assert list(block.header) == ["Model", "Class", "LocAcc", "Faith"]
    assert {(row[2].text, row[2].footnote) for row in block.rows} == {("undefined", maps.NO_EVIDENCE)}


def test_table_three_has_the_columns_of_the_report_and_controls_last(tables: dict[str, pd.DataFrame]) -> None:
    block = localization.tabulate(tables, described(ABOUT)).blocks[1]
    assert list(block.header) == ["CAM Method", "Saliency", "IoU", "Recall", "Precision", "F1-Score"]
    assert [row[0].text for row in block.rows] == ["gradcam", "centre"]
    row = (
        tables["estimates"]
        .query("arch == 'net_b' and method == 'centre' and metric == 'precision' and by == ''")
        .iloc[0]
    )
    assert block.rows[1][4].text == f"{row['value']:.4f} [{row['low']:.4f}, {row['high']:.4f}]"


def test_the_labels_of_a_method_by_depth() -> None:
    assert labels_by_depth("gradcam") == ("gradcam-early", "gradcam-middle", "gradcam")
