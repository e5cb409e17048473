"""Define how all figures look, and draw the parts that they share: pages, axes, legends, notes.

The theme is seaborn's "ticks" style in its "paper" context, with the settings in STYLE. Pages are white and as wide as a
column (88 mm) or as the text (180 mm) of a journal. Each architecture or method has a colour and a marker, from a palette
that is safe under every common colour blindness [wong2011]. marks.py draws estimates with their intervals.

An axis ends where the range of its metric ends. If an interval would squeeze all values together, an arrow at the edge of
the panel replaces its end. The label of a metric's axis says which way is better.

A figure that is drawn again gives the same files, byte for byte: no date and a fixed salt. Text in the SVG is text; the PDF
embeds its fonts as TrueType. Seaborn's FacetGrid is not used: it opens its page in pyplot's global state.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle, pairwise
from math import inf
from pathlib import Path
from textwrap import wrap
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox

from gradfaith.reporting.metric_rows import count_phrase, intervals_phrase
from gradfaith.storage.atomic import replacing

Page = Figure
Marks = Mapping[str, tuple[str, str]]  # colour and marker of each method or architecture
AxisRange = tuple[float, float]  # the part of an axis that is shown
Width = Literal["single", "double"]  # columns of a journal's page
ARROW_NOTE = "Arrow: the interval is longer than the panel; maps.csv has its ends."
MM = 1 / 25.4  # inches
WIDTHS: Mapping[str, float] = {"single": 88 * MM, "double": 180 * MM}
PAGE_WIDTH = WIDTHS["double"]
DPI = 300
METADATA: Mapping[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": "GradFaith"},
    "png": {"Software": "GradFaith"},
    "pdf": {"CreationDate": None, "Creator": "GradFaith", "Producer": "GradFaith"},
}
INK, GREY, PALE = "#222222", "#767676", "#dcdcdc"
ACCENT, WRONG = "#0072B2", "#B3400A"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5B4A9E")
RAISES, LOWERS = COLOURS[2], "#DD3C14"  # the score of a class
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
BETTER_WORDS = {"higher": ("better \u2192", "better \u2191"), "lower": ("\u2190 better", "better \u2193")}
SHARE_COLOURS = LinearSegmentedColormap.from_list("shades", ["#ffffff", "#9ecae8", ACCENT, "#003a5d"])
DASHED: Any = (0, (2, 1.4))
HEAT_MAP: dict[str, Any] = {"cmap": SHARE_COLOURS, "vmin": 0, "cbar": False, "linewidths": 1, "linecolor": "white"}
STYLE: dict[str, Any] = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial"], "font.size": 7.5,
    "axes.titlesize": 8, "axes.labelsize": 7.5, "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": GREY, "axes.linewidth": 0.6, "axes.titleweight": "normal",
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "axes.titlelocation": "left",
    "xtick.color": GREY, "ytick.color": GREY, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "xtick.major.size": 2.5, "ytick.major.size": 0, "xtick.major.width": 0.6,
    "grid.color": PALE, "grid.linewidth": 0.5, "legend.frameon": False, "patch.force_edgecolor": False,
    "savefig.facecolor": "white", "figure.dpi": 150, "savefig.dpi": DPI, "lines.linewidth": 1.2, "pdf.fonttype": 42,
    "text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "gradfaith", "figure.constrained_layout.use": True,
}  # fmt: skip


@contextmanager
def use_theme() -> Iterator[None]:
    """Apply this theme inside a `with` block, without the machine's own matplotlib settings."""
    with mpl.rc_context():
        mpl.rcdefaults()
        seaborn.set_theme(context="paper", style="ticks", palette=COLOURS, color_codes=False, rc=STYLE)
        yield


def new_page(height: float, width: float = PAGE_WIDTH) -> Figure:
    """Return an empty figure, in inches, that lays itself out; it belongs to no window and to no global state."""
    figure = Figure(
        figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.06)
    )  # room for a point at an axis's end
    FigureCanvasAgg(figure)
    return figure


def sentence_page(text: str) -> Figure:
    """Return a page that holds one sentence: why there is nothing to draw."""
    figure = new_page(0.5)
    figure.text(0.012, 0.5, text, va="center")
    return figure


def save(figure: Figure, *files: Path | str) -> None:
    """Write the figure to files in the formats of their suffixes; each file is complete or missing."""
    _fix_layout(figure)
    for file in files:
        kind = Path(file).suffix.removeprefix(".")
        with replacing(file) as draft:
            figure.savefig(draft, format=kind, dpi=DPI, metadata=METADATA[kind])


def _fix_layout(figure: Figure) -> None:
    """Lay the page out once for all formats, and round where its parts are: the solver's last digits vary between runs."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for part in figure.subfigs:
        part.bbox_relative.p0, part.bbox_relative.p1 = (np.round(end, 6) for end in part.bbox_relative.get_points())
    for axes in figure.axes:
        axes.set_position(Bbox(np.round(axes.get_position(original=True).get_points(), 6)), which="original")


def palette(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return name -> colour and marker; after the seventh name the colours repeat, with other markers."""
    markers = [mark for turn in range(len(MARKERS)) for mark in MARKERS[turn:] + MARKERS[:turn]]
    return dict(zip(names, zip(cycle(COLOURS), markers, strict=False), strict=False))


def axis_range(table: pd.DataFrame, *also: float, bounds: AxisRange = (-inf, inf)) -> AxisRange:
    """Return the part of an axis to show: all values, and their intervals up to half the values' span on each side.

    `also`: further values to show; `bounds`: the range of the metric, which the axis does not leave. Two seeds can give an
    interval a hundred times wider than all differences between values; on its scale nothing could be read.
    """
    values = [value for value in (*table["value"], *also) if pd.notna(value)] or [0.0]
    least, most = float(min(values)), float(max(values))
    pad = (most - least) / 2 or abs(most) / 2 or 0.5
    low = max(min([least, *table["low"].dropna()]), least - pad)
    high = min(max([most, *table["high"].dropna()]), most + pad)
    margin = 0.06 * (high - low) or 0.05
    return max(low - margin, min(least, bounds[0])), min(high + margin, max(most, bounds[1]))


def any_interval_beyond(table: pd.DataFrame, shown: AxisRange) -> bool:
    """Return whether an interval leaves the part of the axis that is shown."""
    return bool((table["low"] < shown[0]).any() or (table["high"] > shown[1]).any())


def better_words(better: str, *, upright: bool = False) -> str:
    """Return which way of a metric's axis is better, with an arrow; "" if neither is."""
    return BETTER_WORDS[better][upright] if better in BETTER_WORDS else ""


def metric_axis_label(name: str, better: str, *, upright: bool = False) -> str:
    """Return the label of a metric's axis: its name, and on a second line which way is better."""
    return "\n".join(filter(None, (name, better_words(better, upright=upright))))


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
