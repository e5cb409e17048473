"""Every claim of a study: the interval of the number that decides it, against its margin.

    x = value - margin, its sign turned so that right of 0 is what the claim says

Numbers and verdicts come from stats/claims.py. Claims have different units, so lengths of different rows are not comparable.
A claim that is not testable has no point, and its row gives the reason.
"""

from textwrap import shorten

import pandas as pd
from matplotlib.axes import Axes

from gradfaith.reporting.figures import theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.stats.claims import NOT_TESTABLE, REFUTED, SUPPORTED, UNDECIDED

FIGURE = Figure(needs=("claims",), section="Claims", place=1, title="Claims against their margins")
COLOURS = {SUPPORTED: theme.COLOURS[2], REFUTED: theme.COLOURS[1], UNDECIDED: theme.INK, NOT_TESTABLE: theme.GREY}
LETTERS = 62  # of a reason


def draw(inputs: FigureInputs) -> theme.Page:
    table = inputs.tables["claims"]
    firsts = table.drop_duplicates("claim").reset_index(drop=True)
    numbers = _against_margin(table[table["decides"].astype(bool)]).set_index("claim")
    figure = theme.new_page(0.9 + 0.22 * len(firsts))
    axes = figure.subplots()
    shown = theme.axis_range(numbers, 0.0)
    axes.axvline(0, color=theme.INK, linewidth=0.8)
    for place, row in firsts.iterrows():
        _draw_claim(axes, row, numbers, int(place), shown)  # type: ignore[call-overload]
    axes.set(yticks=range(len(firsts)), yticklabels=firsts["claim"], ylim=(len(firsts) - 0.4, -0.6), xlim=shown)
    axes.set_xlabel("number minus margin; right of 0: as the claim says")
    axes.grid(axis="x")
    used = [verdict for verdict in COLOURS if verdict in set(firsts["verdict"]) and verdict != NOT_TESTABLE]
    theme.add_legend(figure, [theme.legend_entry(verdict, COLOURS[verdict]) for verdict in used])
    arrows = "Arrow: the interval is longer than the panel." if theme.any_interval_beyond(numbers, shown) else ""
    theme.add_note(
        figure,
        "Each row: the number that the verdict depends on, with its interval. Rows have different units.",
        arrows,
    )
    return figure


def _against_margin(table: pd.DataFrame) -> pd.DataFrame:
    """Return numbers minus their margins, with the sign of the claim."""
    above = (table["side"] == "above").to_numpy()
    ends = {name: table[name] - table["margin"] for name in ("value", "low", "high")}
    return table.assign(
        value=ends["value"].where(above, -ends["value"]),
        low=ends["low"].where(above, -ends["high"]),
        high=ends["high"].where(above, -ends["low"]),
    )


def _draw_claim(axes: Axes, row: pd.Series, numbers: pd.DataFrame, place: int, shown: theme.AxisRange) -> None:
    if row["claim"] in numbers.index and row["verdict"] != NOT_TESTABLE:
        theme.draw_estimate(axes, numbers.loc[row["claim"]].to_dict(), place, COLOURS[row["verdict"]], shown=shown)
        return
    text = shorten(f"{row['verdict']}: {row['why']}", LETTERS, placeholder=" ...")
    axes.text(shown[0] + 0.01 * (shown[1] - shown[0]), place, text, fontsize=6.5, color=theme.GREY, va="center")
