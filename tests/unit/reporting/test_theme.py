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


def basis_rows(interval: str) -> pd.DataFrame:
    columns = {
        "value": [0.1, 0.2],
        "low": [0.0, 0.1],
        "high": [0.2, 0.3],
        "n_groups": [48, 48],
        "n_images": [96, 144],
        "n_seeds": 3,
    }
    return pd.DataFrame({**columns, "interval": interval, "reason": ""})


def test_a_footer_says_in_words_what_the_intervals_cover() -> None:
    said = theme.describe_basis(basis_rows("t over groups and seeds"), 0.95, "patient")
    assert (
        said == "Bars: 95 % intervals over 48 patients and 3 seeds. Each number rests on 96 to 144 images and 3 seeds."
    )
    alone = theme.describe_basis(basis_rows("t over groups"), 0.9, "patient", "Bands")
    assert alone.startswith("Bands: 90 % intervals over 48 patients, for these models. ")
    mixed = basis_rows("").assign(interval=["t over groups", "t over groups and seeds"], n_groups=[40, 48])
    assert "95 % intervals over 40 to 48 groups, some also over 3 seeds." in theme.describe_basis(mixed, 0.95)
