"""Two studies' estimates are joined on what they are of; a difference stands only where both have a number, and has no p-value."""

import numpy as np
import pandas as pd
import pytest

from gradfaith.cli import compare
from gradfaith.errors import NotInStudy
from gradfaith.storage import parquet


def estimates(rows: list[dict[str, object]]) -> pd.DataFrame:
    plain = {
        "metric": "locacc", "variant": "", "arch": "net", "arch2": None, "method": "gradcam", "layer": "layer4", "target": "true",
        "by": "", "stratum": "all", "low": np.nan, "high": np.nan, "n_groups": 9, "n_seeds": 2, "p": 0.01,
    }  # fmt: skip
    return pd.DataFrame([plain | row for row in rows])


A = estimates([
    {"value": 0.5, "low": 0.4, "high": 0.6}, {"value": 0.3, "method": "layercam"}, {"value": np.nan, "method": "lime"},
    {"value": 0.7, "by": "label", "stratum": "benign"},
])  # fmt: skip
B = estimates([{"value": 0.75}, {"value": 0.2, "method": "lime"}, {"value": 0.1, "layer": "layer3"}])


def test_the_difference_is_b_minus_a_where_both_have_a_number() -> None:
    both = compare.join_estimates(A, B)
    assert len(both) == 5
    known = both.dropna(subset="difference")
    assert list(known["method"]) == ["gradcam"]
    assert known["difference"].item() == pytest.approx(0.25)
    assert (known["low_a"].item(), known["high_a"].item()) == (0.4, 0.6)
    assert not [name for name in both if name.startswith("p") or name.endswith("difference_p")]


def test_joining_a_study_with_itself_gives_no_difference() -> None:
    both = compare.join_estimates(A, A)
    assert len(both) == len(A)
    assert (both["difference"].dropna() == 0).all()


def test_the_table_says_what_only_one_study_has() -> None:
    said = compare.format_comparison(compare.join_estimates(A, B), ("old", "new")).splitlines()
    assert said[0].split() == ["metric", "variant", "arch", "method", "old", "new", "difference"]
    assert said[1].split() == ["locacc", "net", "gradcam", "0.5000", "[0.4000,", "0.6000]", "0.7500", "+0.2500"]
    assert said[2:4] == ["1 estimates have a value in old only", "2 estimates have a value in new only"]
    assert "benign" not in "".join(said)


def test_the_name_of_a_class_does_nothing_to_the_terminal() -> None:
    one = estimates([{"value": 0.7, "by": "label", "stratum": "a\x1b[2Jb\n\u202ec"}])
    said = compare.format_comparison(compare.join_estimates(one, one), ("old", "new"), by="label")
    assert "a\ufffd[2Jb \ufffdc" in said
    assert len(said.splitlines()) == 5


def test_a_study_that_is_not_finished_is_refused(tmp_path) -> None:
    parquet.write(tmp_path / "results/old/estimates.parquet", A, parquet.ESTIMATES)
    assert len(compare.read_estimates("old", tmp_path)) == len(A)
    with pytest.raises(NotInStudy, match=r"there is no file results/new/estimates\.parquet") as refusal:
        compare.read_estimates("new", tmp_path)
    assert refusal.value.fix.endswith("old.")


def test_a_study_is_named_by_its_file_too(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    parquet.write("results/old/estimates.parquet", A, parquet.ESTIMATES)
    (tmp_path / "mine.yaml").write_text("study: old\n")
    assert len(compare.read_estimates("mine.yaml", tmp_path)) == len(A)


def test_a_metric_that_neither_has_is_refused() -> None:
    both = compare.join_estimates(A, B)
    assert len(compare.select_metric(both, "locacc")) == len(both)
    with pytest.raises(NotInStudy, match='neither study has a metric "locac"; did you mean "locacc"'):
        compare.select_metric(both, "locac")


def test_what_differs_in_a_key_that_is_not_shown_is_counted() -> None:
    other = estimates([{"value": 0.75, "layer": "layer3"}, {"value": 0.1, "method": "layercam", "target": "predicted"}])
    said = compare.format_comparison(compare.join_estimates(A, other), ("old", "new"))
    assert "2 pairs of these differ only in layer layer4 and layer3, target true and predicted" in said
    assert "differ only" not in compare.format_comparison(compare.join_estimates(A, A), ("old", "old"))


def test_the_reason_is_said_where_nothing_meets() -> None:
    said = compare.format_comparison(compare.join_estimates(A, A.assign(arch="vit")), ("old", "new"))
    assert "They have no architecture in common: old net; new vit." in said
    assert "no metric in common" not in said
    assert "in common" not in compare.format_comparison(compare.join_estimates(A, B), ("old", "new"))


def test_terciles_are_each_study_s_own() -> None:
    sized = estimates([{"value": 0.5, "by": "lesion_size", "stratum": "small"}])
    both = compare.join_estimates(sized, sized)
    assert "terciles of the images of each study" in compare.format_comparison(both, ("a", "b"), by="lesion_size")
    assert "terciles" not in compare.format_comparison(both, ("a", "b"))
