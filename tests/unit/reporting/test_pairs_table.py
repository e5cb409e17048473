"""The table of comparisons: what each line shows is what its row of contrasts.parquet holds."""

import numpy as np
import pandas as pd
import pytest
from typed import described
from whole_scores import contrasts_of

from gradfaith import rng
from gradfaith.reporting.tables import contract, pairs

ABOUT = {
    "title": "two networks", "classes": ["a", "b"], "architectures": ["net-b", "net-a"], "seeds": [0, 1, 2], "level": 0.95,
    "controls": ["centre"], "better": {"faith": "higher", "consist": "higher"}, "metrics": {}, "evidence": "mask", "notes": [],
    "min_groups": 8, "primary": {"metric": "faith", "method": "gradcam", "against": "centre"},
    "ranks": {"rank_controls": "beside", "rank_only_correct": False},
}  # fmt: skip


def rows(metric: str, variant: str, arch: str, pair: bool) -> pd.DataFrame:
    noise, frames = rng.generator("pairs table", metric, variant, arch), []
    images = pd.DataFrame({"image_id": [f"i{k}" for k in range(24)], "group": [f"p{k // 2}" for k in range(24)]})
    images["label"] = ["a", "b"] * 12
    for method in ("gradcam", "layercam", "centre"):
        for seed in range(3):
            run = {"seed": seed, "seed2": (seed + 1) % 3 if pair else pd.NA, "arch2": arch if pair else ""}
            value = 0.5 + 0.2 * noise.standard_normal(24)
            frames.append(images.assign(arch=arch, metric=metric, variant=variant, method=method, value=value, **run))
    table = pd.concat(frames, ignore_index=True).astype({"seed2": "Int64"})
    return table.assign(copy=0, layer="", target="true", status="ok", reason="")


@pytest.fixture(scope="module")
def found() -> pd.DataFrame:
    names = [
        ("faith", "black", False),
        ("faith", "blur", False),
        ("consist", "pairs", True),
        ("consist", "between-images", True),
    ]
    table = pd.concat([rows(*name[:2], arch, name[2]) for name in names for arch in ("net-b", "net-a")])
    how = {"imputed": ["faith"], "margins": {"faith": 0.3}}
    return contrasts_of(table.reset_index(drop=True), ["centre"], ABOUT["better"], **how)


def test_every_line_is_its_row(found: pd.DataFrame) -> None:
    sheet = pairs.tabulate({"contrasts": found}, described(ABOUT))
    lines = {
        (block.caption, line[0].text, line[1].text, line[2].text): line for block in sheet.blocks for line in block.rows
    }
    assert len(lines) == (found["comparison"] != "control").sum()
    row = found[
        (found["comparison"] == "architecture") & (found["method"] == "gradcam") & (found["variant"] == "black")
    ].iloc[0]
    key = (pairs.CAPTIONS["architecture"], "gradcam: net-b minus net-a", "Faith (black)", "24, true class")
    texts = [cell.text for cell in lines[key]]
    assert texts[3].startswith(f"{row['value']:+.3f} [{row['low']:.3f}, {row['high']:.3f}], p = {row['p']:.3f}")
    assert texts[4] == f"[{row['low_family']:.3f}, {row['high_family']:.3f}], p = {row['p_family']:.3f}"
    assert texts[5] == f"{row['df']:.1f}"
    assert texts[6].startswith(
        "equivalent within ±0.3" if row["p_equivalent"] < 0.05 else "not shown equivalent within ±0.3"
    )
    chance = [name for name in lines if name[0] == pairs.CAPTIONS["chance"]]
    assert {name[3] for name in chance} == {"24, true class", "12 a, true class", "12 b, true class"}


def test_a_page_says_what_its_numbers_are_about(found: pd.DataFrame) -> None:
    page = contract.markdown(pairs.tabulate({"contrasts": found}, described(ABOUT)))
    assert "for new trainings of this recipe" in page
    assert "degrees of freedom" in page
    assert "hold for all differences of a family at once" in page


def test_a_study_that_compares_nothing_says_so(found: pd.DataFrame) -> None:
    sheet = pairs.tabulate({"contrasts": found[found["comparison"] == "control"]}, described(ABOUT))
    assert not sheet.blocks
    assert sheet.lead == (pairs.NOTHING,)


def test_without_a_margin_nothing_is_called_equivalent(found: pd.DataFrame) -> None:
    row = found.iloc[0].to_dict()
    assert pairs.equivalence_text(row | {"p_equivalent": np.nan, "margin": np.nan}, 0.95) == "-"
    assert (
        pairs.equivalence_text(row | {"p_equivalent": 0.2, "margin": 0.05}, 0.95)
        == "not shown equivalent within ±0.05, p = 0.200"
    )


def test_architectures_are_also_compared_by_calibrated_faith(found: pd.DataFrame) -> None:
    """It is on one scale for all networks; other comparisons show raw Faith only."""
    named = found.assign(metric=found["metric"].replace("faith", "faith_calibrated"))
    both = pd.concat([found, named[named["metric"] == "faith_calibrated"]], ignore_index=True)
    sheet = pairs.tabulate({"contrasts": both}, described(ABOUT))
    shown = {block.caption: {line[1].text.partition(" (b")[0] for line in block.rows} for block in sheet.blocks}
    assert shown[pairs.CAPTIONS["architecture"]] >= {"Faith", "Faith (calibrated)"}
    assert "Faith (calibrated)" not in shown[pairs.CAPTIONS["method"]]
    assert sheet.blocks[0].header[-1] == "equivalence (not adjusted)"
