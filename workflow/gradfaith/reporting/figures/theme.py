"""How figures look: a white page, one typeface, grey axes; what they rest on stands under every one.

Architectures and methods have a colour and a marker each, from a palette that stays apart under every common colour
blindness [wong2011]. Controls are always grey and hollow, their intervals dashed. A number without an interval is hollow
too, has no whisker, and the note says why. A whisker that would squeeze all values together leaves the panel by an arrow.
The SVG is the same to the last byte whenever it is drawn again: no date, a fixed salt, text as text.
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

from gradfaith.storage.atomic import replacing

Page = Figure
Window = tuple[float, float]
ARROWS = "An arrow: the interval goes on; its ends are in maps.csv."
WIDTH = 7.2  # inches, the text width of a two-column paper
DPI = 150
INK, GREY, PALE = "#222222", "#767676", "#dcdcdc"
ACCENT, WRONG = "#0072B2", "#B3400A"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5B4A9E")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", "#9ecae8", ACCENT, "#003a5d"])
DASHED: Any = (0, (2, 1.4))
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial"], "font.size": 8,
    "axes.titlesize": 8.5, "axes.labelsize": 8, "xtick.labelsize": 7.5, "ytick.labelsize": 7.5, "legend.fontsize": 7.5,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": GREY, "axes.linewidth": 0.6, "axes.titleweight": "normal",
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "axes.titlelocation": "left",
    "xtick.color": GREY, "ytick.color": GREY, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "xtick.major.size": 2.5, "ytick.major.size": 0, "xtick.major.width": 0.6,
    "grid.color": PALE, "grid.linewidth": 0.5, "legend.frameon": False, "figure.facecolor": "white",
    "savefig.facecolor": "white", "figure.dpi": DPI, "savefig.dpi": DPI, "lines.linewidth": 1.2,
    "svg.fonttype": "none", "svg.hashsalt": "gradfaith", "figure.constrained_layout.use": True,
}  # fmt: skip


@contextmanager
def applied() -> Iterator[None]:
    """The theme, and nothing of the machine's own settings, while the block lasts."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def page(height: float, width: float = WIDTH) -> Figure:
    """An empty figure that lays itself out; it belongs to no window and to no global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, svg: Path | str, png: Path | str) -> None:
    """Both files, each whole or not there."""
    with replacing(svg) as draft:
        figure.savefig(draft, format="svg", metadata={"Date": None, "Creator": "GradFaith"})
    save_png(figure, png)


def save_png(figure: Figure, png: Path | str) -> None:
    with replacing(png) as draft:
        figure.savefig(draft, format="png", dpi=DPI, metadata={"Software": "GradFaith"})


def palette(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """name -> colour and marker; past the seventh name colours come again with another marker."""
    markers = [mark for turn in range(len(MARKERS)) for mark in MARKERS[turn:] + MARKERS[:turn]]
    return dict(zip(names, zip(cycle(COLOURS), markers, strict=False), strict=False))


def window(table: pd.DataFrame, *also: float) -> Window:
    """The part of an axis to show: all values, and of their intervals what half the values' span holds on each side.

    Two seeds can give an interval a hundred times wider than all differences; on its scale nothing could be read.
    """
    values = [value for value in (*table["value"], *also) if pd.notna(value)] or [0.0]
    low, high = float(min(values)), float(max(values))
    pad = (high - low) / 2 or abs(high) / 2 or 0.5
    lowest, highest = min([low, *table["low"].dropna()]), max([high, *table["high"].dropna()])
    low, high = max(lowest, low - pad), min(highest, high + pad)
    margin = 0.06 * (high - low) or 0.05
    return low - margin, high + margin


def beyond(table: pd.DataFrame, shown: Window) -> bool:
    """Whether an interval leaves the part that is shown."""
    return bool((table["low"] < shown[0]).any() or (table["high"] > shown[1]).any())


def dot(
    axes: Axes,
    row: Mapping[Any, Any],
    at: float,
    colour: str,
    marker: str = "o",
    *,
    control: bool = False,
    upright: bool = False,
    shown: Window = (-inf, inf),
) -> None:
    """One number and its interval, on a horizontal axis of values or upright; an arrow where it goes on beyond `shown`."""
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    sure, dash = pd.notna(low), DASHED if control else "-"
    if sure:
        ends, place = [low, high], [at, at]
        axes.plot(*((place, ends) if upright else (ends, place)), color=colour, linestyle=dash, linewidth=1.3, zorder=3)
    for end, goes_on, head in ((shown[0], low < shown[0], "v<"), (shown[1], high > shown[1], "^>")):
        if goes_on:
            tip = (at, end) if upright else (end, at)
            axes.plot(
                *tip, marker=head[not upright], color=colour, markersize=4, markeredgewidth=0, clip_on=False, zorder=4
            )
    face = "white" if control or not sure else colour
    point = (at, value) if upright else (value, at)
    size = 4.2 if marker == "o" else 3.8
    axes.plot(*point, marker=marker, color=colour, markerfacecolor=face, markersize=size, markeredgewidth=1.0, zorder=4)


def swatch(label: str, colour: str, marker: str = "o", *, control: bool = False, hollow: bool = False) -> Line2D:
    """An entry of a legend that looks like `dot`."""
    face = "white" if control or hollow else colour
    dash: Any = DASHED if control else "-"
    return Line2D(
        [], [], color=colour, marker=marker, markerfacecolor=face, markersize=4.2, markeredgewidth=1.0,
        linewidth=0 if hollow else 1.3, linestyle=dash, label=label,
    )  # fmt: skip


def legend(figure: Figure, entries: Sequence[Artist]) -> None:
    """One legend above all panels, in as many columns as the page holds."""
    room = figure.get_size_inches()[0] * 13  # letters
    columns = next(n for n in range(len(entries), 0, -1) if n == 1 or _letters(entries, n) < room)
    figure.legend(handles=list(entries), loc="outside upper left", ncols=columns, handlelength=2.2, columnspacing=1.6)


def note(figure: Figure, *sentences: str) -> None:
    """Small words under the plot, at its left edge, in lines no longer than the page is wide."""
    room = int(figure.get_size_inches()[0] * 18)  # letters
    lines = [line for sentence in sentences for line in sentence.splitlines()]
    text = "\n".join(part for line in lines for part in wrap(line, room))
    figure.supxlabel(text, x=0.012, ha="left", fontsize=6.8, color=GREY, linespacing=1.35)


def caution(figure: Figure, text: str) -> None:
    """A warning that belongs to every number on the page; nothing where there is nothing to warn of."""
    if text:
        figure.suptitle(text, x=0.012, ha="left", fontsize=7, color=WRONG, weight="bold", wrap=True)


def basis(rows: pd.DataFrame, level: float, kind: str = "group") -> str:
    """What the rows of estimates rest on: groups, images, seeds, the interval's name, and why some have none."""
    rows = rows[rows["value"].notna()]
    if rows.empty:
        return "No value could be estimated."
    counts = [
        _counted(rows[f"n_{what}s"], word) for what, word in (("group", kind), ("image", "image"), ("seed", "seed"))
    ]
    names = sorted(set(rows.loc[rows["low"].notna(), "interval"]))
    bars = f"bars: {100 * level:g} % intervals, {'; or '.join(names)}" if names else "no intervals"
    reasons = sorted(set(rows.loc[rows["low"].isna(), "reason"]))
    hollow = f"No interval (hollow): {'; '.join(_together(reasons))}." if reasons else ""
    return "\n".join(filter(None, (f"{', '.join(counts)}; {bars}.", hollow)))


def kind(manifest: pd.DataFrame) -> str:
    """What the groups are, in the singular: patients only where the manifest knows patients."""
    kinds = set(manifest.get("group_kind", ()))
    return "patient" if kinds == {"patient"} else "inferred group" if kinds == {"inferred"} else "group"


def _letters(entries: Sequence[Artist], columns: int) -> int:
    """How wide a legend is: it is filled column by column, the first ones one deeper where it does not divide."""
    widths = [len(str(entry.get_label())) + 6 for entry in entries]
    deep, more = divmod(len(entries), columns)
    ends = [place * deep + min(place, more) for place in range(columns + 1)]
    return sum(max(widths[start:end]) for start, end in pairwise(ends))


def _together(reasons: Sequence[str]) -> list[str]:
    """Reasons that differ in their first number alone become one: "2 to 7 groups ..."."""
    found: dict[str, list[int]] = {}
    for reason in reasons:
        number, _, rest = reason.partition(" ")
        if number.isdigit():
            found.setdefault(rest, []).append(int(number))
    counted = [
        f"{min(numbers)} to {max(numbers)} {rest}" if len(numbers) > 1 else f"{numbers[0]} {rest}"
        for rest, numbers in found.items()
    ]
    return counted + [reason for reason in reasons if not reason.partition(" ")[0].isdigit()]


def _counted(numbers: pd.Series, word: str) -> str:
    low, high = int(numbers.min()), int(numbers.max())
    return f"{low if low == high else f'{low} to {high}'} {word}{'' if high == 1 else 's'}"
