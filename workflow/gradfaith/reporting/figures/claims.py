"""Every claim of a study: the interval of the number that decides it, against its margin.

    x = value - margin, its sign turned so that right of 0 is what the claim says

Numbers and verdicts come from stats/claims.py. Claims have different units, so lengths of different rows are not comparable.
A claim that is not testable has no point, and its row gives the reason.
"""

from textwrap import shorten

import pandas as pd

from gradfaith.reporting.figures import marks, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.reporting.metric_rows import records
from gradfaith.stats.claims import REFUTED, SUPPORTED
from gradfaith.vocabulary import NOT_TESTABLE, UNDECIDED

FIGURE = Figure(needs=("claims",), section="Claims", place=1, title="Claims against their margins")
LOOK = {SUPPORTED: (theme.COLOURS[2], "o"), REFUTED: (theme.COLOURS[1], "s"), UNDECIDED: (theme.INK, "D")}
LETTERS = 62  # of a reason


def draw(inputs: FigureInputs) -> theme.Page:
    table = inputs.tables["claims"]
    firsts = table.drop_duplicates("claim").reset_index(drop=True)
    deciding = _against_margin(table[table["decides"].astype(bool) & (table["verdict"] != NOT_TESTABLE)])
    place = {name: number for number, name in enumerate(firsts["claim"])}
    rows = deciding.assign(at=deciding["claim"].map(place), name=deciding["verdict"], control=False)
    figure = theme.new_page(0.9 + 0.2 * len(firsts))
    axes = figure.subplots()
    shown = theme.axis_range(rows, 0.0)
    axes.axvline(0, color=theme.INK, linewidth=0.8)
    marks.draw_estimates(axes, rows, marks.Marks(LOOK, shown=shown))
    for row in records(firsts[firsts["verdict"] == NOT_TESTABLE]):
        text = shorten(f"{NOT_TESTABLE}: {row['why']}", LETTERS, placeholder=" ...")
        start = shown[0] + 0.01 * (shown[1] - shown[0])
        axes.text(start, place[row["claim"]], text, fontsize=6.5, color=theme.GREY, va="center")
    axes.set(yticks=range(len(firsts)), yticklabels=firsts["claim"], ylim=(len(firsts) - 0.4, -0.6), xlim=shown)
    axes.set_xlabel("number minus margin; right of 0: as the claim says")
    axes.grid(axis="x")
    used = [verdict for verdict in LOOK if verdict in set(rows["verdict"])]
    if used:
        theme.add_legend(figure, [marks.legend_entry(verdict, *LOOK[verdict]) for verdict in used])
    arrows = "Arrow: the interval is longer than the panel." if theme.any_interval_beyond(rows, shown) else ""
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
