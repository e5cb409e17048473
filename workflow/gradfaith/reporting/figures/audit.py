"""Summarise the data audit on one page: what the dataset holds, split leakage, shortcuts, suspicious images.

Leakage: balanced accuracy of one nearest neighbour at 32 px. Shortcuts: balanced accuracy of a shallow tree,
with groups kept together; the tick is the 95th percentile after label permutation. Images: pairs that are
identical, or nearly, although their classes or groups differ; if there are none, exact copies within a group.
"""

from collections.abc import Mapping, Sequence
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
from gradfaith.reporting.figures import theme
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
SHOWN_PAIRS = 4
PART_COLOURS = {"train": theme.COLOURS[0], "val": theme.COLOURS[4], "test": theme.COLOURS[1]}


def draw(inputs: FigureInputs, *, limit: float = 0.75) -> theme.Page:
    found, page = inputs.audit, theme.new_page(8.9)
    head, rows, probes, pictures = list(
        page.subfigures(4, 1, height_ratios=[1.55, 2.3, 3.3, 1.75], squeeze=False)[:, 0]
    )
    head.text(
        0.012,
        0.97,
        "\n".join(fill(line, 118, subsequent_indent="   ") for line in _summary_lines(inputs)),
        va="top",
        fontsize=8,
        linespacing=1.4,
    )
    _draw_groups(rows, inputs)
    left, right = probes.subplots(1, 2, width_ratios=[1, 1.25])
    _draw_leakage(left, found["leakage"], limit)
    _draw_shortcuts(right, found["shortcuts"])
    _draw_suspect_pairs(pictures, inputs)
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
    axes = part.subplots()
    for place, label in enumerate(inputs.classes):
        own = table[table["label"] == label]
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
                linewidth=0.6,
                height=0.62,
            )
            start += many
        axes.text(start, place, f"  {len(own)} images, {own['group'].nunique()} groups", va="center", fontsize=7)
    axes.set(yticks=range(len(inputs.classes)), yticklabels=inputs.classes, xlabel="images; each block is one group")
    axes.set_xlim(0, 1.22 * table.groupby("label").size().max())
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
        axes.set_axis_off()
        axes.text(0, 0.5, fill(f"Not measured: {found['reason']}.", 34), transform=axes.transAxes, color=theme.GREY)
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
    axes.set(xlim=(0, 1), ylim=(2.6, -1.0), xlabel="balanced accuracy; dashed: chance; red: the limit", ylabel="")
    axes.legend(handles=[theme.legend_entry(name, colour) for name, colour in colours.items()], loc="upper left")


def _draw_shortcuts(axes: Axes, stages: Mapping[str, Any]) -> None:
    kinds = list(dict.fromkeys(kind for found in stages.values() for kind in found))
    palette = theme.palette(list(stages))
    chance = 0.0
    for number, (stage, found) in enumerate(stages.items()):
        colour, marker = palette[stage]
        for place, kind in enumerate(kinds):
            row = found.get(kind)
            if row is None or row["status"] != "ok":
                continue
            at = place + 0.22 * (number - (len(stages) - 1) / 2)
            axes.plot(row["balanced_accuracy"], at, marker, color=colour, markersize=5, clip_on=False)
            if row["one_vs_rest"]:
                score = max(row["one_vs_rest"].values())
                axes.plot(score, at, marker, color=colour, markersize=5, markerfacecolor="white", clip_on=False)
                _annotate_beside(
                    axes, score, at, ", ".join(name for name, one in row["one_vs_rest"].items() if one == score)
                )
            axes.plot([row["null"]] * 2, [at - 0.1, at + 0.1], color=theme.INK, linewidth=1)
            chance = row["chance"]
    axes.axvline(chance, color=theme.GREY, linestyle=theme.DASHED)
    axes.set(
        xlim=(0, 1), ylim=(len(kinds) - 0.6 + 0.4 * len(stages), -0.7), yticks=range(len(kinds)), yticklabels=kinds
    )
    axes.set(xlabel="balanced accuracy; tick: after label permutation")
    axes.set_title("What tells the classes apart without disease?\nA tree of depth 3; hollow: one class against rest")
    axes.legend(handles=[theme.legend_entry(stage, *palette[stage]) for stage in stages], loc="lower left")


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


def _draw_suspect_pairs(part: SubFigure, inputs: FigureInputs) -> None:
    assert inputs.images is not None
    pairs, title = _find_suspect_pairs(inputs)
    part.suptitle(title, x=0.012, ha="left", fontsize=8.5)
    panels = part.subplots(1, 2 * SHOWN_PAIRS, gridspec_kw={"wspace": 0.04})
    about = metric_rows.index_rows(inputs.tables["manifest"], "image_id")
    for place, axes in enumerate(panels):
        axes.set(xticks=[], yticks=[])
        axes.set_axis_off()
        if place // 2 < len(pairs):
            image = pairs[place // 2][place % 2]
            axes.imshow(_load_grey_image(inputs.images, image), cmap="gray", vmin=0, vmax=255)
            lines = (about[image]["label"], image.rsplit("/", 1)[-1][:22], about[image]["group"])
            axes.set_title("\n".join(one_line(str(line)) for line in lines), fontsize=5.8, loc="left")


def _load_grey_image(images: ImageStore, image: str) -> NDArray[np.uint8]:
    picture: NDArray[np.uint8] = images.pixels([image])[0][0]
    return picture


def _find_suspect_pairs(inputs: FigureInputs) -> tuple[Sequence[Sequence[str]], str]:
    """Return pairs of similar images, most suspicious first and of different images, and their title."""
    found = inputs.audit
    near = found["near_duplicates"]
    for pairs, title in (
        (near["across_classes"], "Nearly the same image in two classes: one label of each pair is wrong"),
        (near["across_groups"], "Nearly the same image in two groups: perhaps one patient on both sides of the split"),
        ([one[:2] for one in found["duplicates"]["list"]], "Exact copies; the split keeps them together"),
    ):
        chosen, seen = list[Sequence[str]](), set[str]()
        for pair in pairs:
            if not seen & set(pair[:2]) and len(chosen) < SHOWN_PAIRS:
                chosen.append(pair[:2])
                seen |= set(pair[:2])
        if chosen:
            return chosen, f"{title} ({len(pairs)} listed)"
    return [], "No pair of images is suspicious"
