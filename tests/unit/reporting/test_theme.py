"""What is written under a figure, and which metrics stand in one."""

import numpy as np
import pandas as pd

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import theme


def test_reasons_that_differ_in_their_number_are_said_once() -> None:
    rows = pd.DataFrame({
        "value": [0.1, 0.2, 0.3, 0.4], "low": [np.nan] * 4, "high": [np.nan] * 4, "interval": "", "n_groups": [2, 7, 1, 9], "n_images": 9,
        "n_seeds": 1, "reason": ["2 groups, too few", "7 groups, too few", "1 group, too few", "a tie"],
    })  # fmt: skip
    assert "No interval (hollow): 1 group, too few; 2 to 7 groups, too few; a tie." in theme.describe_basis(rows, 0.95)


def test_notes_are_no_longer_than_the_page_is_wide() -> None:
    with theme.use_theme():
        page = theme.new_page(2)
        theme.add_note(page, "a sentence " * 40, "", "another")
        lines = page.get_supxlabel().splitlines()
    assert max(map(len, lines)) <= 18 * theme.PAGE_WIDTH
    assert " ".join(lines).split() == ("a sentence " * 40 + "another").split()


def test_a_study_of_none_of_the_paper_s_metrics_is_shown_with_its_own() -> None:
    table = pd.DataFrame({"metric": ["shortcut_share", "randomisation", "shortcut_lift", "shortcut_share"]})
    assert metric_rows.metrics_to_show(table, {}) == ["shortcut_share", "shortcut_lift"]
    assert metric_rows.metrics_to_show(table, {}, wanted=["shortcut_lift", "faith"]) == ["shortcut_lift"]
    both = pd.concat([table, pd.DataFrame({"metric": ["faith"]})])
    assert metric_rows.metrics_to_show(both, {}) == metric_rows.metrics_to_show(both, {}, primary="faith") == ["faith"]
    assert metric_rows.metrics_to_show(both, {}, primary="shortcut_lift") == ["shortcut_lift", "faith"]
