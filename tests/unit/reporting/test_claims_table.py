"""The table and the figure of claims show each verdict with the number that it follows from."""

from dataclasses import replace

import pandas as pd
import pytest
from claim_scores import small_claims
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from small_study import ABOUT
from test_maps_table import pipes
from typed import described, primary_contrast

from gradfaith.reporting.figures import claims as claims_figure
from gradfaith.reporting.figures import theme
from gradfaith.reporting.figures.contract import FigureInputs
from gradfaith.reporting.tables import claims as claims_table
from gradfaith.reporting.tables import contract as sheet_tables
from gradfaith.reporting.tables.contract import Sheet

SHOWN = ("title", "classes", "architectures", "seeds", "controls", "metrics", "level", "min_groups")
NO_TABLES = FigureInputs(**{name: ABOUT[name] for name in SHOWN}, primary=primary_contrast(ABOUT["primary"]))
VERDICTS = {"supported-one": "supported", "refuted-one": "refuted", "undecided-one": "undecided"}


@pytest.fixture(scope="module")
def found() -> pd.DataFrame:
    return small_claims()


@pytest.fixture(scope="module")
def sheet(found: pd.DataFrame) -> Sheet:
    return claims_table.tabulate({"claims": found}, described(ABOUT))


def test_each_claim_has_a_line_with_its_deciding_number(found: pd.DataFrame, sheet: Sheet) -> None:
    lines = {line["claim"]: line for line in pipes(sheet_tables.markdown(sheet), "Claims")}
    assert {name: line["verdict"] for name, line in lines.items()} == VERDICTS
    row = found[(found["claim"] == "supported-one") & found["decides"]].iloc[0]
    line = lines["supported-one"]
    assert line["value"] == f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    assert (line["margin"], line["case"], line["number"]) == ("> 0.1", row["case"], row["condition"])
    assert "4 claims: 1 supported, 1 refuted, 1 undecided, 1 not testable." in sheet.lead


def test_each_case_has_a_line_with_its_worst_number(found: pd.DataFrame, sheet: Sheet) -> None:
    lines = list(pipes(sheet_tables.markdown(sheet), "Cases of claims with several numbers"))
    assert len(lines) == 9
    own = found[(found["claim"] == "undecided-one") & (found["case"] == "net-a")]
    (line,) = [line for line in lines if line["claim"] == "undecided-one" and line["case"] == "net-a"]
    assert line["worst number"] == own.loc[own["value"].idxmin(), "condition"]
    assert line["numbers supported"] == f"{(own['number_verdict'] == 'supported').sum()} of 2"


def test_claims_that_are_not_testable_name_what_is_missing(sheet: Sheet) -> None:
    (line,) = pipes(sheet_tables.markdown(sheet), "Not testable on this study")
    assert (line["claim"], line["reason"]) == ("missing-one", "the study has no metric iou")


def test_the_figure_places_each_number_on_its_side_of_the_margin(found: pd.DataFrame) -> None:
    with theme.use_theme():
        axes = claims_figure.draw(replace(NO_TABLES, tables={"claims": found})).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    drawn = [points for points in axes.collections if isinstance(points, PathCollection)]
    places, colours = drawn[-1].get_offsets(), drawn[-1].get_facecolor()
    assert {names[round(at)] for _, at in places} == set(VERDICTS)
    for (x, at), colour in zip(places, colours, strict=True):
        row = found[(found["claim"] == names[round(at)]) & found["decides"]].iloc[0]
        assert x == pytest.approx(row["value"] - row["margin"])
        assert to_hex(colour) == to_hex(claims_figure.LOOK[VERDICTS[names[round(at)]]][0])
    (reason,) = [text.get_text() for text in axes.texts]
    assert reason == "not testable: the study has no metric iou"


def test_the_figure_is_drawn_if_no_claim_can_be_tested(found: pd.DataFrame) -> None:
    none = found.assign(verdict="not testable", why="balanced accuracy of net-a: 0.33, below 0.8")
    with theme.use_theme():
        figure = claims_figure.draw(replace(NO_TABLES, tables={"claims": none}))
    assert not figure.legends
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown == ["not testable: balanced accuracy of net-a: 0.33, below 0.8"] * found["claim"].nunique()
