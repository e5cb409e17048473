"""Define how all figures look, and draw the parts that they share: pages, estimates with intervals, legends, notes.

Pages are white, with one typeface and grey axes. Each architecture or method has a colour and a marker, from
a palette that is safe under every common colour blindness [wong2011]. Controls are always grey and hollow,
their intervals dashed. An estimate without an interval is hollow too, and the note under the figure states why
it has none. If an interval would squeeze all values together, an arrow at the edge of the panel replaces
its end. A figure that is drawn again gives the same SVG, byte for byte: no date, a fixed salt, text as text.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle, pairwise
from math import inf
from pathlib import Path
from textwrap import wrap
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradfaith.reporting.metric_rows import count_phrase, intervals_phrase
from gradfaith.storage.atomic import replacing

Page = Figure
Marks = Mapping[str, tuple[str, str]]  # colour and marker of each method or architecture
AxisRange = tuple[float, float]  # the part of an axis that is shown
ARROW_NOTE = "Arrow: the interval is longer than the panel; maps.csv has its ends."
PAGE_WIDTH = 7.2  # inches, the text width of a two-column paper
DPI = 150
INK, GREY, PALE = "#222222", "#767676", "#dcdcdc"
ACCENT, WRONG = "#0072B2", "#B3400A"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5B4A9E")
RAISES, LOWERS = COLOURS[2], "#DD3C14"  # the score of a class
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
SHARE_COLOURS = LinearSegmentedColormap.from_list("shades", ["#ffffff", "#9ecae8", ACCENT, "#003a5d"])
DASHED: Any = (0, (2, 1.4))
HEAT_MAP: dict[str, Any] = {"cmap": SHARE_COLOURS, "vmin": 0, "cbar": False, "linewidths": 1, "linecolor": "white"}
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial"], "font.size": 8,
    "axes.titlesize": 8.5, "axes.labelsize": 8, "xtick.labelsize": 7.5, "ytick.labelsize": 7.5, "legend.fontsize": 7.5,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": GREY, "axes.linewidth": 0.6, "axes.titleweight": "normal",
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "axes.titlelocation": "left",
    "xtick.color": GREY, "ytick.color": GREY, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "xtick.major.size": 2.5, "ytick.major.size": 0, "xtick.major.width": 0.6,
    "grid.color": PALE, "grid.linewidth": 0.5, "legend.frameon": False, "figure.facecolor": "white",
    "savefig.facecolor": "white", "figure.dpi": DPI, "savefig.dpi": DPI, "lines.linewidth": 1.2,
    "text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "gradfaith", "figure.constrained_layout.use": True,
}  # fmt: skip


@contextmanager
def use_theme() -> Iterator[None]:
    """Apply this theme inside a `with` block, without the machine's own matplotlib settings."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def new_page(height: float, width: float = PAGE_WIDTH) -> Figure:
    """Return an empty figure, in inches, that lays itself out; it belongs to no window and to no global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, svg: Path | str, png: Path | str) -> None:
    """Write the SVG and the PNG; each file is complete or missing."""
    with replacing(svg) as draft:
        figure.savefig(draft, format="svg", metadata={"Date": None, "Creator": "GradFaith"})
    save_png(figure, png)


def save_png(figure: Figure, png: Path | str) -> None:
    """Write the PNG alone."""
    with replacing(png) as draft:
        figure.savefig(draft, format="png", dpi=DPI, metadata={"Software": "GradFaith"})


def palette(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return name -> colour and marker; after the seventh name the colours repeat, with other markers."""
    markers = [mark for turn in range(len(MARKERS)) for mark in MARKERS[turn:] + MARKERS[:turn]]
    return dict(zip(names, zip(cycle(COLOURS), markers, strict=False), strict=False))


def axis_range(table: pd.DataFrame, *also: float) -> AxisRange:
    """Return the part of an axis to show: all values, and their intervals up to half the values' span on each side.

    `also`: further values to show. Two seeds can give an interval a hundred times wider than all differences between
    values; on its scale nothing could be read.
    """
    values = [value for value in (*table["value"], *also) if pd.notna(value)] or [0.0]
    low, high = float(min(values)), float(max(values))
    pad = (high - low) / 2 or abs(high) / 2 or 0.5
    lowest, highest = min([low, *table["low"].dropna()]), max([high, *table["high"].dropna()])
    low, high = max(lowest, low - pad), min(highest, high + pad)
    margin = 0.06 * (high - low) or 0.05
    return low - margin, high + margin


def any_interval_beyond(table: pd.DataFrame, shown: AxisRange) -> bool:
    """Return whether an interval leaves the part of the axis that is shown."""
    return bool((table["low"] < shown[0]).any() or (table["high"] > shown[1]).any())


def draw_estimate(
    axes: Axes,
    row: Mapping[Any, Any],
    at: float,
    colour: str,
    marker: str = "o",
    *,
    control: bool = False,
    upright: bool = False,
    shown: AxisRange = (-inf, inf),
) -> None:
    """Draw an estimate (value, low, high of `row`) at place `at` of the other axis, with an arrow where it leaves `shown`.

    Values lie on the horizontal axis, or on the vertical one if `upright`. NaN as `low`: there is no interval.
    """
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    has_interval, dash = pd.notna(low), DASHED if control else "-"
    if has_interval:
        ends, place = [low, high], [at, at]
        axes.plot(*((place, ends) if upright else (ends, place)), color=colour, linestyle=dash, linewidth=1.3, zorder=3)
    for end, leaves, head in ((shown[0], low < shown[0], "v<"), (shown[1], high > shown[1], "^>")):
        if leaves:
            tip = (at, end) if upright else (end, at)
            axes.plot(
                *tip, marker=head[not upright], color=colour, markersize=4, markeredgewidth=0, clip_on=False, zorder=4
            )
    face = "white" if control or not has_interval else colour
    point = (at, value) if upright else (value, at)
    size = 4.2 if marker == "o" else 3.8
    axes.plot(*point, marker=marker, color=colour, markerfacecolor=face, markersize=size, markeredgewidth=1.0, zorder=4)


def legend_entry(label: str, colour: str, marker: str = "o", *, control: bool = False, hollow: bool = False) -> Line2D:
    """Return an entry of a legend that looks like `draw_estimate`."""
    face = "white" if control or hollow else colour
    dash: Any = DASHED if control else "-"
    return Line2D(
        [], [], color=colour, marker=marker, markerfacecolor=face, markersize=4.2, markeredgewidth=1.0,
        linewidth=0 if hollow else 1.3, linestyle=dash, label=label,
    )  # fmt: skip


def add_legend(figure: Figure, entries: Sequence[Artist]) -> None:
    """Add one legend above all panels, in as many columns as the page holds."""
    room = figure.get_size_inches()[0] * 13  # letters
    columns = next(n for n in range(len(entries), 0, -1) if n == 1 or _legend_width(entries, n) < room)
    figure.legend(handles=list(entries), loc="outside upper left", ncols=columns, handlelength=2.2, columnspacing=1.6)


def add_note(figure: Figure, *sentences: str) -> None:
    """Write small text under the plot, at its left edge, in lines no longer than the page is wide."""
    room = int(figure.get_size_inches()[0] * 18)  # letters
    lines = [line for sentence in sentences for line in sentence.splitlines()]
    text = "\n".join(part for line in lines for part in wrap(line, room))
    figure.supxlabel(text, x=0.012, ha="left", fontsize=6.8, color=GREY, linespacing=1.35)


def add_caution(figure: Figure, text: str) -> None:
    """Write a warning that belongs to every number on the page; "" writes nothing."""
    if text:
        figure.suptitle(text, x=0.012, ha="left", fontsize=7, color=WRONG, weight="bold", wrap=True)


def describe_basis(rows: pd.DataFrame, level: float, kind: str = "group", marks: str = "Bars") -> str:
    """Return the sentences on what estimates rest on: intervals, groups, images, seeds, and why some have no interval.

    `kind`: the noun for a group (`metric_rows.group_noun`); `marks`: what shows an interval in the figure.
    """
    rows = rows[rows["value"].notna()]
    if rows.empty:
        return "No value could be estimated."
    images, seeds = (count_phrase(rows[f"n_{unit}s"], unit) for unit in ("image", "seed"))
    if rows["low"].isna().all():
        basis = f"{count_phrase(rows['n_groups'], kind)}, {images}, {seeds}. No number has an interval."
    else:
        basis = f"{marks}: {intervals_phrase(rows, level, kind)}. Each number rests on {images} and {seeds}."
    reasons = sorted(set(rows.loc[rows["low"].isna(), "reason"]))
    hollow = f"No interval (hollow): {'; '.join(_merge_reasons(reasons))}." if reasons else ""
    return "\n".join(filter(None, (basis, hollow)))


def _legend_width(entries: Sequence[Artist], columns: int) -> int:
    """Return the width of a legend in letters; it is filled column by column, the first columns one entry deeper."""
    widths = [len(str(entry.get_label())) + 6 for entry in entries]
    deep, more = divmod(len(entries), columns)
    ends = [place * deep + min(place, more) for place in range(columns + 1)]
    return sum(max(widths[start:end]) for start, end in pairwise(ends))


def _merge_reasons(reasons: Sequence[str]) -> list[str]:
    """Merge reasons that differ only in their first number into one: "2 to 7 groups ..."."""
    by_text: dict[str, list[int]] = {}
    for reason in reasons:
        number, _, rest = reason.partition(" ")
        if number.isdigit():
            by_text.setdefault(rest, []).append(int(number))
    counted = [
        f"{min(numbers)} to {max(numbers)} {rest}" if len(numbers) > 1 else f"{numbers[0]} {rest}"
        for rest, numbers in by_text.items()
    ]
    return counted + [reason for reason in reasons if not reason.partition(" ")[0].isdigit()]
