"""Summarise the data audit on one page: what the dataset holds, split leakage, shortcuts, suspicious images.

Leakage: balanced accuracy of one nearest neighbour at 32 px. Shortcuts: balanced accuracy of a shallow tree,
with groups kept together; the tick is the 95th percentile after label permutation. All classes and one class against the rest
have different chance levels, so each has its line. Images: pairs that are identical, or nearly, although their classes or
groups differ; if there are none, exact copies; without those the page ends above.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from gradfaith.reporting import metric_rows
from gradfaith.reporting.escaping import one_line
from gradfaith.reporting.figures import marks, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.reporting.tables import summary
from gradfaith.storage.hdf5 import ImageStore
from gradfaith.vocabulary import PARTS

FIGURE = Figure(
    needs=("audit", "manifest", "splits", "images"),
    limits=("0 <= limit <= 1",),
    section="Data and training",
    place=1,
    title="The data and its split",
)
SHOWN_PAIRS, LETTERS, LINE_INCHES = 4, 124, 0.157  # pairs at the foot; letters and height of a line of text
PART_COLOURS = {"train": theme.COLOURS[0], "val": theme.COLOURS[4], "test": theme.COLOURS[1]}
ONE_CLASS_CHANCE = 0.5  # of a class against the rest, in balanced accuracy
OPAQUE = {"frameon": True, "framealpha": 1.0, "edgecolor": "none"}  # a legend over lines


@dataclass(frozen=True)
class SuspectPairs:
    """The pairs of images at the foot of the page, and what they are."""

    shown: Sequence[Sequence[str]]
    title: str


def draw(inputs: FigureInputs, *, limit: float = 0.75) -> theme.Page:
    found, pairs = inputs.audit, find_suspect_pairs(inputs)
    text = "\n".join(fill(line, LETTERS, subsequent_indent="   ") for line in _summary_lines(inputs))
    probed = not found["leakage"]["reason"] or _has_probes(found["shortcuts"])
    heights = [
        0.2 + LINE_INCHES * len(text.splitlines()),
        2.3,
        3.1 if probed else 1.1,
        *([1.75] if pairs.shown else []),
    ]
    page = theme.new_page(sum(heights))
    head, rows, probes, *images = list(page.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    head.text(0.012, 0.97, text, va="top", fontsize=7.5, linespacing=1.4)
    _draw_groups(rows, inputs)
    left, right = probes.subplots(1, 2, width_ratios=[1, 1.25])
    _draw_leakage(left, found["leakage"], limit)
    _draw_shortcuts(right, found["shortcuts"])
    for part in images:
        _draw_suspect_pairs(part, inputs, pairs)
    return page


def _summary_lines(inputs: FigureInputs) -> list[str]:
    """Return the page's findings as numbered sentences."""
    found, noun = inputs.audit, metric_rows.group_noun(inputs.tables["manifest"])
    sentences = (
        summary.describe_images(found, noun),
        summary.describe_groups(found, noun),
        summary.describe_duplicates(found),
        summary.describe_leakage(found),
        summary.describe_shortcut(found),
    )
    return [f"{number}  {sentence}" for number, sentence in enumerate(sentences, 1)]


def _draw_groups(part: SubFigure, inputs: FigureInputs) -> None:
    """Draw every group as a block, class by class, coloured by its part of the split."""
    table = inputs.tables["manifest"].merge(inputs.tables["splits"], on="image_id")
    noun, axes = metric_rows.group_noun(inputs.tables["manifest"]), part.subplots()
    edge = min(0.6, 40 / max(1, table.groupby("label")["group"].nunique().max()))
    for place, label in enumerate(inputs.classes):
        own = table[table["label"] == label]
        groups = own["group"].nunique()
        blocks = own.groupby(["part", "group"]).size().reset_index(name="n")
        blocks["order"] = blocks["part"].map({name: number for number, name in enumerate(PARTS)})
        start = 0
        for row in blocks.sort_values(["order", "n"], ascending=[True, False]).to_dict("records"):
            many = int(row["n"])
            axes.barh(
                place,
                many,
                left=start,
                color=PART_COLOURS[str(row["part"])],
                edgecolor="white",
                linewidth=edge,
                height=0.62,
            )
            start += many
        axes.text(start, place, f"  {len(own)} images, {groups} {noun}{'s' * (groups != 1)}", va="center", fontsize=6.5)
    axes.set(yticks=range(len(inputs.classes)), yticklabels=inputs.classes, xlabel=f"images; each block is one {noun}")
    axes.set_xlim(0, 1.25 * table.groupby("label").size().max())
    axes.invert_yaxis()
    axes.set_title("The images of each class, and the part of the split they belong to")
    names = [name for name in PARTS if name in set(table["part"])]
    axes.legend(
        handles=[Patch(color=PART_COLOURS[name], label=name) for name in names],
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=3,
    )


def _draw_leakage(axes: Axes, found: Mapping[str, Any], limit: float) -> None:
    axes.set_title("Does the split leak?\nBalanced accuracy of one nearest neighbour")
    if found["reason"]:
        _say_not_measured(axes, found["reason"])
        return
    splits = {
        "random slices": found["random"],
        "other splits by group": found["groups"],
        "this split": [found["this"]] * bool(found["this"]),
    }
    parts = {"whole": "complete image", "rim": "without lungs"}
    rows = [(split, parts[part], probe[part]) for split, probes in splits.items() for probe in probes for part in parts]
    colours = dict(zip(parts.values(), (theme.ACCENT, theme.COLOURS[1]), strict=True))
    seaborn.swarmplot(
        pd.DataFrame(rows, columns=["split", "part", "value"]), x="value", y="split", order=list(splits), hue="part",
        hue_order=list(colours), palette=list(colours.values()), dodge=True, size=4.5, legend=False, clip_on=False, ax=axes,
    )  # fmt: skip
    axes.axvline(found["chance"], color=theme.GREY, linestyle=theme.DASHED)
    axes.axvline(limit, color=theme.WRONG, linewidth=1)
    axes.set(xlim=(0, 1), ylim=(2.6, -1.1), xlabel="balanced accuracy; dashed: chance; red: the limit", ylabel="")
    entries = [marks.legend_entry(name, colour, hollow=False) for name, colour in colours.items()]
    axes.legend(handles=entries, loc="upper left", **OPAQUE)


def _draw_shortcuts(axes: Axes, stages: Mapping[str, Any]) -> None:
    kinds = list(dict.fromkeys(kind for found in stages.values() for kind in found))
    rows, look = shortcut_rows(stages, kinds), theme.palette(list(stages))
    if rows.empty:
        reasons = {row["reason"] for found in stages.values() for row in found.values() if row.get("reason")}
        axes.set_title("What tells the classes apart without disease?")
        _say_not_measured(axes, "; ".join(sorted(reasons)))
        return
    marks.draw_points(axes, rows, marks.Marks(look), hollow=rows["one_class"])
    for row in metric_rows.records(rows):
        if row["one_class"]:
            _annotate_beside(axes, row["value"], row["at"], row["label"])
        else:
            axes.plot([row["null"]] * 2, [row["at"] - 0.1, row["at"] + 0.1], color=theme.INK, linewidth=1)
    chance = [
        (row["chance"], theme.DASHED) for found in stages.values() for row in found.values() if row["status"] == "ok"
    ]
    for place, style in [*chance[:1], *([(ONE_CLASS_CHANCE, ":")] if rows["one_class"].any() else [])]:
        axes.axvline(place, color=theme.GREY, linestyle=style, zorder=1)
    axes.set(
        xlim=(0, 1), ylim=(len(kinds) - 0.4 + 0.4 * len(stages), -0.7), yticks=range(len(kinds)), yticklabels=kinds
    )
    axes.set(
        xlabel="balanced accuracy; tick: after label permutation\ndashed: chance of all classes, dotted: of one against rest"
    )
    axes.set_title("What tells the classes apart without disease?\nA tree of depth 3; hollow: one class against rest")
    axes.legend(handles=[marks.legend_entry(stage, *look[stage]) for stage in stages], loc="lower left", **OPAQUE)


def _has_probes(stages: Mapping[str, Any]) -> bool:
    return any(row["status"] == "ok" for found in stages.values() for row in found.values())


def _say_not_measured(axes: Axes, reason: str) -> None:
    axes.set_axis_off()
    axes.text(0, 0.95, fill(f"Not measured: {reason}.", 44), transform=axes.transAxes, color=theme.GREY, va="top")


def shortcut_rows(stages: Mapping[str, Any], kinds: Sequence[str]) -> pd.DataFrame:
    """Return a row per probe of all classes, and one of its easiest class against the rest: columns name (the stage), at, value."""
    offset, rows = marks.spread_offsets(list(stages), 0.22), []
    for stage, found in stages.items():
        for place, kind in enumerate(kinds):
            row = found.get(kind)
            if row is None or row["status"] != "ok":
                continue
            at, easiest = place + offset[stage], max((row["one_vs_rest"] or {}).values(), default=None)
            rows.append((stage, at, row["balanced_accuracy"], row["null"], False, ""))
            if easiest is not None:
                names = ", ".join(name for name, one in row["one_vs_rest"].items() if one == easiest)
                rows.append((stage, at, easiest, row["null"], True, names))
    return pd.DataFrame(rows, columns=["name", "at", "value", "null", "one_class", "label"])


def _annotate_beside(axes: Axes, x: float, y: float, name: str) -> None:
    """Write a small name beside a marker, on the side that has room."""
    side = -1 if x > 0.78 else 1
    axes.annotate(
        name,
        (x, y),
        (5 * side, 0),
        textcoords="offset points",
        fontsize=5.5,
        ha="right" if side < 0 else "left",
        va="center_baseline",
        color=theme.GREY,
    )


def _draw_suspect_pairs(part: SubFigure, inputs: FigureInputs, pairs: SuspectPairs) -> None:
    assert inputs.images is not None
    part.suptitle(pairs.title, x=0.012, ha="left", fontsize=8)
    panels = part.subplots(1, 2 * SHOWN_PAIRS, gridspec_kw={"wspace": 0.04})
    about = metric_rows.index_rows(inputs.tables["manifest"], "image_id")
    for place, axes in enumerate(panels):
        axes.set(xticks=[], yticks=[])
        axes.set_axis_off()
        if place // 2 < len(pairs.shown):
            image = pairs.shown[place // 2][place % 2]
            axes.imshow(_load_picture(inputs.images, image), cmap="gray", vmin=0, vmax=255)
            lines = (about[image]["label"], image.rsplit("/", 1)[-1][:22], about[image]["group"])
            axes.set_title("\n".join(one_line(str(line)) for line in lines), fontsize=5.8, loc="left")


def _load_picture(images: ImageStore, image: str) -> NDArray[np.uint8]:  # (h, w), or (h, w, 3) in colour
    channels: NDArray[np.uint8] = images.pixels([image])[0]
    return channels[0] if len(channels) == 1 else channels.transpose(1, 2, 0)


def find_suspect_pairs(inputs: FigureInputs) -> SuspectPairs:
    """Return pairs of similar images, most suspicious first and of different images."""
    found, part = inputs.audit, inputs.tables["splits"].set_index("image_id")["part"]
    near, copies = found["near_duplicates"], [one[:2] for one in found["duplicates"]["list"]]
    apart = sum(part.get(first) != part.get(second) for first, second in copies)
    exact = (
        f"Exact copies, {apart} of them in two parts of the split"
        if apart
        else "Exact copies; the split keeps them together"
    )
    for pairs, title in (
        (near["across_classes"], "Nearly the same image in two classes: one label of each pair is wrong"),
        (near["across_groups"], "Nearly the same image in two groups: perhaps one patient on both sides of the split"),
        (copies, exact),
    ):
        chosen, seen = list[Sequence[str]](), set[str]()
        for pair in pairs:
            if not seen & set(pair[:2]) and len(chosen) < SHOWN_PAIRS:
                chosen.append(pair[:2])
                seen |= set(pair[:2])
        if chosen:
            return SuspectPairs(chosen, f"{title} ({len(pairs)} listed)")
    return SuspectPairs([], "")
