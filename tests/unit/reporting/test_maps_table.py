"""Tables: what is written down is what was estimated, with the reason where there is no interval."""

import io

import numpy as np
import pandas as pd
import pytest
from typed import described
from whole_scores import contrasts_of

from gradfaith.reporting.tables import classification as classification_tables
from gradfaith.reporting.tables import contract as sheet_tables
from gradfaith.reporting.tables import maps as maps_tables
from gradfaith.reporting.tables.contract import Block, Cell, Sheet
from gradfaith.stats.classification import estimate_classification
from gradfaith.stats.estimates import estimate_scores

CLASSES, BETTER = ["normal", "nodule"], {"locacc": "higher", "faith": "higher"}
PRIMARY = {"metric": "locacc", "method": "gradcam", "against": "centre"}
ABOUT = {
    "title": "a & b", "classes": CLASSES, "architectures": ["net_a", "net_b"], "seeds": [0], "controls": ["centre"], "level": 0.95,
    "min_groups": 8, "better": BETTER, "metrics": {}, "primary": PRIMARY, "evidence": "mask", "notes": [],
}  # fmt: skip


def scores(groups: int) -> pd.DataFrame:
    draw, rows = np.random.default_rng(0), []
    for arch in ABOUT["architectures"]:
        for method, level in {"centre": 0.1, "gradcam": 0.5, "shuffled-gradcam": 0.1}.items():
            for metric, variant in (("locacc", ""), ("faith", "black"), ("faith", "mean")):
                for image in range(2 * groups):
                    lost = metric == "locacc" and image == 0
                    value = np.nan if lost else level + draw.normal(0, 0.05)
                    rows.append(
                        (
                            arch,
                            method,
                            metric,
                            variant,
                            f"i{image}",
                            f"g{image // 2}",
                            value,
                            "undefined" if lost else "ok",
                        )
                    )
    frame = pd.DataFrame(rows, columns=["arch", "method", "metric", "variant", "image_id", "group", "value", "status"])
    return frame.assign(seed=0, arch2="", seed2="", copy=0, layer="", target="predicted", reason="")


def maps(groups: int = 10, raw: pd.DataFrame | None = None) -> tuple[pd.DataFrame, Sheet]:
    raw = scores(groups) if raw is None else raw
    found = estimate_scores([raw])
    return found, maps_tables.tabulate(
        {"estimates": found, "contrasts": contrasts_of(raw, ["centre"], BETTER, PRIMARY)}, described(ABOUT)
    )


def predictions(groups: int = 10) -> pd.DataFrame:
    draw, rows = np.random.default_rng(1), []
    for arch in ABOUT["architectures"]:
        for image in range(2 * groups):
            label = CLASSES[image // 2 % 2]
            rows.append(
                (arch, 0, f"i{image}", f"g{image // 2}", "test", label, label if draw.random() < 0.8 else CLASSES[0])
            )
    frame = pd.DataFrame(rows, columns=["arch", "seed", "image_id", "group", "part", "label", "predicted"])
    return frame.assign(seconds=0.0123, parameters=4_930_000)


def pipes(text: str, after: str) -> list[dict[str, str]]:
    """The rows of the first Markdown table under a heading."""
    parts = text.split(f"## {after}\n", 1)[1].strip().split("\n\n")
    lines = next(part for part in parts if part.startswith("|")).split("\n")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def test_a_cell_says_the_mean_and_the_interval_of_its_row() -> None:
    found, sheet = maps()
    row = found.query("arch == 'net_b' and method == 'gradcam' and metric == 'faith' and variant == 'black'").iloc[0]
    line = next(line for line in pipes(sheet_tables.markdown(sheet), "net_b: estimates") if line["method"] == "gradcam")
    assert line["Faith (black)"] == f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    assert "Faith (mean)" not in line


def test_the_gain_over_shuffled_is_the_contrast_of_the_primary_variant() -> None:
    raw = scores(10)
    wide = raw.query("arch == 'net_a' and metric == 'faith' and variant == 'black'").pivot(
        index="image_id", columns="method", values="value"
    )
    gain = (wide["gradcam"] - wide["shuffled-gradcam"]).mean()
    line = pipes(sheet_tables.markdown(maps()[1]), "net_a: estimates")[0]
    assert line[f"Faith (black), {maps_tables.GAIN}"].startswith(f"{gain:.3f} [")
    assert f"Faith (mean), {maps_tables.GAIN}" in line


def test_the_sign_of_the_gain_is_that_under_all_imputers() -> None:
    raw = scores(16)
    of_faith = raw["metric"] == "faith"
    ours = raw["method"] == "gradcam"
    for variant, gain, expected in (("mean", 0.6, "above 0"), ("mean", -0.6, "not shown")):
        shifted = raw.assign(value=raw["value"] + 0.6 * (of_faith & ours))
        changed = of_faith & ours & (raw["variant"] == variant)
        shifted.loc[changed, "value"] += gain - 0.6
        line = pipes(sheet_tables.markdown(maps(raw=shifted)[1]), "net_a: estimates")[0]
        assert line[maps_tables.SIGN] == expected


def test_what_faith_is_read_with_stands_beside_it() -> None:
    estimates = pd.DataFrame(
        [
            (name, "black")
            for name in ("road", "complexity", "faith_area_matched", "faith", "faith_calibrated", "consist")
        ],
        columns=["metric", "variant"],
    )
    columns = maps_tables._columns(estimates, estimates, {}, [])
    assert [name for name, _ in columns.main] == [
        "faith", "faith_calibrated", "complexity", "faith_area_matched", "consist", "road",
    ]  # fmt: skip


def test_a_study_s_labels_change_no_column() -> None:
    """Labels of the study's own, one of them the name of another plug-in: the columns are those of the plug-ins."""
    labels = {"locacc": "faith", "faith": "drop"}
    raw = scores(10)
    raw["metric"] = raw["metric"].map(labels)
    primary = {**PRIMARY, "metric": "faith"}
    about = {**ABOUT, "primary": primary, "metrics": {label: name for name, label in labels.items()}}
    better = dict.fromkeys(labels.values(), "higher")
    tables = {"estimates": estimate_scores([raw]), "contrasts": contrasts_of(raw, ["centre"], better, primary)}
    renamed, usual = maps_tables.tabulate(tables, described(about)), maps()[1]
    for block, other in zip(renamed.blocks, usual.blocks, strict=True):
        names = {"LocAcc": "faith", "Faith (black)": "drop (black)", "Faith (mean)": "drop (mean)"}
        names |= {
            f"Faith ({name}), {maps_tables.GAIN}": f"drop ({name}), {maps_tables.GAIN}" for name in ("black", "mean")
        }
        assert list(block.header) == [names.get(head, head) for head in other.header]
        assert block.rows == other.rows
    assert "gradcam minus centre in faith: net_a" in renamed.lead[0]


def test_what_was_lost_is_counted() -> None:
    line = pipes(sheet_tables.markdown(maps()[1]), "net_a: estimates")[0]
    assert (line["images"], line["undefined scores"], line["failed scores"]) == ("19 to 20", "0 to 1", "0")


def test_methods_come_before_controls_and_each_before_its_shuffles() -> None:
    lines = pipes(sheet_tables.markdown(maps()[1]), "net_a: estimates")
    assert [line["method"] for line in lines] == ["gradcam", "shuffled-gradcam", "centre"]


def test_the_primary_contrast_stands_on_top_in_the_study_order() -> None:
    top = sheet_tables.markdown(maps()[1]).split("\n\n")[1]
    assert top.startswith("Primary contrast, named beforehand: gradcam minus centre in LocAcc: net_a +0.")
    assert top.index("net_a") < top.index("net_b")
    assert "p < 0.001" in top


def test_without_enough_groups_the_number_stands_alone_with_a_footnote() -> None:
    text = sheet_tables.markdown(maps(groups=4)[1])
    line = pipes(text, "net_a: estimates")[0]
    assert "[" not in line["LocAcc"]
    assert line["LocAcc"].endswith("<sup>a</sup>")
    assert "<sup>a</sup> 4 groups, an interval needs 8" in text


def test_the_csv_holds_every_estimate_and_every_contrast_in_full() -> None:
    found, sheet = maps()
    table = pd.read_csv(io.StringIO(sheet_tables.csv(sheet)), keep_default_na=False, na_values={"value": "", "low": ""})
    own = table[table["against"] == ""]
    assert own["value"].to_numpy() == pytest.approx(found["value"].to_numpy(), rel=1e-12)
    assert len(table) == len(found) + 2 * 3 * 2  # architectures, metrics and variants, opponents of gradcam


def test_the_classification_table_has_the_papers_columns_and_more() -> None:
    answers = predictions()
    text = sheet_tables.markdown(
        classification_tables.tabulate(
            {"classification": estimate_classification(answers, CLASSES), "predictions": answers}, described(ABOUT)
        )
    )
    line = pipes(text, "By architecture")[1]
    correct = (answers["label"] == answers["predicted"])[answers["arch"] == "net_b"].mean()
    assert line["architecture"] == "net_b"
    assert line["Accuracy"].startswith(f"{correct:.2f} [")
    assert line["Sensitivity"] == line["Recall"] == line["Balanced accuracy"]
    assert (line["ms per image"], line["million parameters"]) == ("12.3", "4.93")
    assert [line["class"] for line in pipes(text, "By class")] == CLASSES * 2


def test_time_and_size_are_left_open_without_predictions() -> None:
    text = sheet_tables.markdown(
        classification_tables.tabulate(
            {"classification": estimate_classification(predictions(), CLASSES), "predictions": pd.DataFrame()},
            described(ABOUT),
        )
    )
    assert pipes(text, "By architecture")[0]["ms per image"] == "-"


def test_latex_tables_are_rectangular() -> None:
    for sheet in (maps()[1], maps(groups=4)[1]):
        for block, part in zip(sheet.blocks, sheet_tables.latex(sheet).split(r"\begin{tabular}{")[1:], strict=True):
            columns = part.split("}", 1)[0]
            body = [line for line in part.split("\n") if line.endswith(r" \\")]
            assert len(body) == len(block.rows) + 1
            assert all(line.replace(r"\&", "").count("&") == len(columns) - 1 for line in body)


def test_equal_reasons_share_a_footnote_and_the_27th_is_aa() -> None:
    rows = [[Cell("1", f"why {number}"), Cell("2", "why 0")] for number in range(27)]
    sheet = Sheet("t", [], [Block("b", ["x", "y"], rows)], pd.DataFrame())
    assert len(sheet.footnotes) == 27
    assert (sheet.footnotes["why 0"], sheet.footnotes["why 26"]) == ("a", "aa")


def test_without_evidence_localization_is_undefined_and_never_a_number() -> None:
    raw = scores(10).query("metric != 'locacc'").reset_index(drop=True)
    primary = {**PRIMARY, "metric": "faith"}
    about = {**ABOUT, "evidence": "none", "primary": primary}
    sheet = maps_tables.tabulate(
        {"estimates": estimate_scores([raw]), "contrasts": contrasts_of(raw, ["centre"], BETTER, primary)},
        described(about),
    )
    block = sheet.blocks[0]
    place = list(block.header).index("LocAcc")
    assert {row[place].text for row in block.rows} == {"undefined"}
    assert all(row[place].footnote.startswith("undefined: the dataset has no masks") for row in block.rows)
    own = sheet.data[sheet.data["metric"] == "locacc"]
    assert len(own) == 2 * 3
    assert own["value"].isna().all()
