"""Seaborn draws: at least ten figure files call a function of it that draws, never with an interval of its own."""

import ast
from collections.abc import Iterator

import matplotlib as mpl
import pandas as pd
import pytest
import seaborn
from drawn_panels import SEABORN_DRAWS

from gradfaith import registry
from gradfaith.reporting.figures import marks, theme

AVERAGES = {"lineplot", "pointplot", "barplot"}  # those that bootstrap an interval unless they are told not to


def calls(source: str) -> Iterator[ast.Call]:
    """The calls of functions of seaborn that draw."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).removeprefix("seaborn.") in SEABORN_DRAWS:
            yield node


def test_ten_figure_files_call_a_seaborn_function_that_draws() -> None:
    files = {name: registry.entry("figures", name).path.read_text() for name in registry.names("figures")}
    assert len([name for name, source in files.items() if any(calls(source))]) >= 10
    for source in [*files.values(), (registry.PACKAGE / "reporting/figures/marks.py").read_text()]:
        for call in calls(source):
            options = {word.arg: ast.unparse(word.value) for word in call.keywords}
            if ast.unparse(call.func).removeprefix("seaborn.") in AVERAGES:
                assert options["errorbar"] in {"None", "_one_sd"}  # a function of the figure's own, no bootstrap


def test_the_theme_is_that_of_seaborn_and_ends_with_its_block() -> None:
    before = dict(mpl.rcParams)
    with theme.use_theme():
        assert mpl.rcParams["axes.grid"] is False
        assert mpl.rcParams["image.cmap"] == seaborn.axes_style("ticks")["image.cmap"] != before["image.cmap"]
        assert mpl.rcParams["pdf.fonttype"] == 42
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("better", "words"), [("higher", "better \u2192"), ("lower", "\u2190 better"), ("neither", "")]
)
def test_an_arrow_says_which_way_is_better(better: str, words: str) -> None:
    assert theme.better_words(better) == words
    assert theme.metric_axis_label("Faith", better) == ("Faith\n" + words).strip()


def test_names_stand_side_by_side_around_the_middle() -> None:
    assert marks.spread_offsets(["a", "b", "c"], 0.2) == pytest.approx({"a": -0.2, "b": 0, "c": 0.2})


def test_no_rows_are_no_points() -> None:
    axes = theme.new_page(2.0).subplots()
    rows = pd.DataFrame({"name": [], "value": [], "at": []})
    marks.draw_points(axes, rows, marks.Marks({}), hollow=rows["value"].isna())
    assert len(axes.collections) == 0
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("", "")
