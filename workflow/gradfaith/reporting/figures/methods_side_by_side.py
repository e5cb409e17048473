"""Every method of one model on the same images, side by side; the images are chosen by a rule (reporting/image_examples.py).

One row per image: the image with its evidence, then one small panel per method, the evaluated map of the
predicted class over the image in grey. Methods that do not fit on one line continue in a block below, on the
same images. Beside each row are the true class, the predicted class and its calibrated probability. Controls are left
out by default, because they look the same for every model.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, Literal

from matplotlib.axes import Axes

from gradfaith.errors import StudyInvalid
from gradfaith.registry import did_you_mean
from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import overlay, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.reporting.figures.overlay import describe_shown_images
from gradfaith.reporting.image_examples import choose_images
from gradfaith.storage.hdf5 import ImageStore, MapStore
from gradfaith.vocabulary import SHUFFLED

FIGURE = Figure(
    needs=("predictions", "scores", "images", "maps", "manifest"),
    limits=("images >= 1", "0 <= seed_rank < seeds"),
    section="Example images",
    place=2,
    title="Methods side by side",
)
MAX_METHODS_PER_LINE = {"single": 3, "double": 8}  # methods on a line at most
MARGIN_INCHES = 1.12  # for the words beside a row
MIN_WIDTH = 5.8  # inches; the note needs them


def draw(
    inputs: FigureInputs,
    *,
    images: int = 4,
    arch: str = "",
    seed_rank: int = 0,
    methods: tuple[str, ...] = (),
    controls: bool = False,
    choice: Literal["median", "random"] = "median",
    width: Literal["single", "double"] = "double",
) -> theme.Page:
    assert inputs.images is not None
    arch, seed = arch or inputs.architectures[0], sorted(inputs.seeds)[seed_rank]
    stores = _stores_by_label(inputs, arch, seed)
    labels = [_require_label(label, arch, stores) for label in methods] or [
        label for label in stores if controls or not metric_rows.is_control(label, inputs.controls)
    ]
    table = inputs.tables["predictions"]
    explained = set.intersection(*(set(stores[label].rows["image_id"]) for label in labels))
    table = table[(table["arch"] == arch) & (table["seed"] == seed) & table["image_id"].isin(explained)]
    shown = choose_images(table, inputs.tables["scores"], inputs.primary, inputs.classes, count=images, choice=choice)
    figure, blocks = _lay_out_blocks(labels, len(shown), width)
    answers = metric_rows.index_rows(table, "image_id")
    for panels, block in blocks:
        for line, image in zip(panels, shown, strict=True):
            _draw_row(line, inputs.images, image, {label: stores[label] for label in block})
            _write_answer(line[0], answers[image])
    theme.add_note(
        figure,
        f"{arch}, seed {seed}; {describe_shown_images(shown, inputs, choice)}",
        overlay.SCALING_NOTE,
    )
    return figure


def _stores_by_label(inputs: FigureInputs, arch: str, seed: int) -> dict[str, MapStore]:
    """Return label -> the store that holds its maps of this model, without shuffled copies."""
    own = [maps for (name, number, _), maps in inputs.maps.items() if (name, number) == (arch, seed)]
    return {label: maps for maps in own for label in maps.methods if not label.startswith(SHUFFLED)}


def _require_label(label: str, arch: str, stores: Mapping[str, MapStore]) -> str:
    if label not in stores:
        raise StudyInvalid(
            problem=f'methods_side_by_side: there are no maps of "{label}" on "{arch}"{did_you_mean(label, stores)}',
            reason="The figure shows only maps that the study has made.",
            fix=f"Use labels of its bundles that this architecture has: {', '.join(stores) or 'none'}.",
        )
    return label


def _lay_out_blocks(
    labels: Sequence[str], images: int, width: theme.Width
) -> tuple[theme.Page, list[tuple[Any, Sequence[str]]]]:
    """Return the page, and per block of methods its panels (images, 1 + methods) and its labels."""
    many = ceil(len(labels) / MAX_METHODS_PER_LINE[width])
    across = ceil(len(labels) / many)
    side = min(1.3, (theme.WIDTHS[width] - MARGIN_INCHES) / (across + 1) - 0.05)
    figure = theme.new_page(
        0.45 + many * (images * (side + 0.05) + 0.42),
        max(min(MIN_WIDTH, theme.WIDTHS[width]), (across + 1) * (side + 0.05) + MARGIN_INCHES),
    )
    parts = [labels[start : start + across] for start in range(0, len(labels), across)]
    grid = figure.subplots(many * images, across + 1, squeeze=False)
    names = [overlay.wrap_name(label, 11) for label in labels]
    letters = overlay.font_size_to_fit(names, side, 7.5)
    blocks = []
    for number, part in enumerate(parts):
        panels = grid[number * images : (number + 1) * images]
        for axes, name in zip(panels[0], ("image", *(overlay.wrap_name(label, 11) for label in part)), strict=False):
            axes.set_title(name, loc="center", fontsize=letters, pad=3)
        for axes in panels[:, len(part) + 1 :].ravel():
            axes.set_axis_off()
        blocks.append((panels, part))
    return figure, blocks


def _draw_row(line: Sequence[Axes], images: ImageStore, image: str, stores: Mapping[str, MapStore]) -> None:
    pixels, evidence = overlay.load_image_and_evidence(images, image)
    overlay.draw_image(line[0], pixels, evidence)
    for axes, (label, maps) in zip(line[1:], stores.items(), strict=False):
        overlay.draw_image(axes, pixels, evidence)
        overlay.draw_map(axes, *overlay.load_display_map(maps, label, image, pixels.shape[:2]), letters=6)


def _write_answer(axes: Axes, row: Mapping[Any, Any]) -> None:
    answer, right = row["predicted"], bool(row["correct"])
    words = f"true: {row['label']}\n{'said' if right else 'wrong'}: {answer}\n{row[f'calibrated_{answer}']:.2f}"
    look: dict[str, Any] = {"ha": "right", "va": "center", "rotation": 0, "fontsize": 6.5, "labelpad": 3}
    axes.set_ylabel(words, color=theme.INK if right else theme.WRONG, **look)
