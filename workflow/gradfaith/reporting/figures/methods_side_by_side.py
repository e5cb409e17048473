"""Every method of one model on the same images, side by side; the images are chosen by a rule (reporting/image_examples.py).

One row per image: the image with its evidence, then one small panel per method, the evaluated map of the predicted class
over the image in grey. Methods that do not fit on one line go on in a block below, on the same images. Beside each row
stand the true class, the model's answer and its calibrated probability. Controls are left out unless asked for: what they
look like is the same for every model.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, Literal

from matplotlib.axes import Axes

from gradfaith.errors import StudyInvalid
from gradfaith.registry import did_you_mean
from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import overlay, theme
from gradfaith.reporting.figures.contract import Figure, Given
from gradfaith.reporting.figures.overlay import account, choose
from gradfaith.storage.hdf5 import Images, Maps
from gradfaith.vocabulary import SHUFFLED

FIGURE = Figure(needs=("predictions", "scores", "images", "maps"), limits=("images >= 1", "0 <= seed_rank < seeds"))
ACROSS, MARGIN = 8, 1.12  # methods on a line at most; inches for the words beside a row
NARROW = 5.8  # inches; the note needs them


def draw(
    given: Given,
    *,
    images: int = 4,
    arch: str = "",
    seed_rank: int = 0,
    methods: tuple[str, ...] = (),
    controls: bool = False,
    choice: Literal["median", "random"] = "median",
) -> theme.Page:
    assert given.images is not None
    arch, seed = arch or given.architectures[0], sorted(given.seeds)[seed_rank]
    stores = _stores(given, arch, seed)
    labels = [_there(label, arch, stores) for label in methods] or [
        label for label in stores if controls or not metric_rows.is_control(label, given.controls)
    ]
    table = given.tables["predictions"]
    explained = set.intersection(*(set(stores[label].rows["image_id"]) for label in labels))
    table = table[(table["arch"] == arch) & (table["seed"] == seed) & table["image_id"].isin(explained)]
    shown = choose(table, given.tables["scores"], given.primary, given.classes, images=images, choice=choice)
    figure, blocks = _blocks(labels, len(shown))
    answers = metric_rows.by(table, "image_id")
    for panels, block in blocks:
        for line, image in zip(panels, shown, strict=True):
            _row(line, given.images, image, {label: stores[label] for label in block})
            _answer(line[0], answers[image])
    theme.note(figure, f"{arch}, seed {seed}; {account(shown, given.images, given.primary, choice)}", overlay.SCALED)
    return figure


def _stores(given: Given, arch: str, seed: int) -> dict[str, Maps]:
    """label -> the store that holds its maps of this model; shuffled copies are left out."""
    own = [maps for (name, number, _), maps in given.maps.items() if (name, number) == (arch, seed)]
    return {label: maps for maps in own for label in maps.methods if not label.startswith(SHUFFLED)}


def _there(label: str, arch: str, stores: Mapping[str, Maps]) -> str:
    if label not in stores:
        raise StudyInvalid(
            found=f'methods_side_by_side: there are no maps of "{label}" on "{arch}"{did_you_mean(label, stores)}',
            why="A figure shows maps that the study made.",
            then=f"Name labels of its bundles, asked of this architecture: {', '.join(stores) or 'none'}.",
        )
    return label


def _blocks(labels: Sequence[str], images: int) -> tuple[theme.Page, list[tuple[Any, Sequence[str]]]]:
    """The page, and per block of methods its panels (images, 1 + methods)."""
    many = ceil(len(labels) / ACROSS)
    across = ceil(len(labels) / many)
    side = min(1.3, (theme.WIDTH - MARGIN) / (across + 1) - 0.05)
    figure = theme.page(
        0.45 + many * (images * (side + 0.05) + 0.42), max(NARROW, (across + 1) * (side + 0.05) + MARGIN)
    )
    parts = [labels[start : start + across] for start in range(0, len(labels), across)]
    grid = figure.subplots(many * images, across + 1, squeeze=False)
    names = [overlay.broken(label, 11) for label in labels]
    letters = overlay.fitted(names, side, 7.5)
    blocks = []
    for number, part in enumerate(parts):
        panels = grid[number * images : (number + 1) * images]
        for axes, name in zip(panels[0], ("image", *(overlay.broken(label, 11) for label in part)), strict=False):
            axes.set_title(name, loc="center", fontsize=letters, pad=3)
        for axes in panels[:, len(part) + 1 :].ravel():
            axes.set_axis_off()
        blocks.append((panels, part))
    return figure, blocks


def _row(line: Sequence[Axes], images: Images, image: str, stores: Mapping[str, Maps]) -> None:
    pixels, evidence = overlay.picture(images, image)
    overlay.under(line[0], pixels, evidence)
    for axes, (label, maps) in zip(line[1:], stores.items(), strict=False):
        overlay.under(axes, pixels, evidence)
        overlay.over(axes, *overlay.stored(maps, label, image, pixels.shape[:2]), letters=6)


def _answer(axes: Axes, row: Mapping[Any, Any]) -> None:
    answer, right = row["predicted"], bool(row["correct"])
    words = f"true: {row['label']}\n{'said' if right else 'wrong'}: {answer}\n{row[f'calibrated_{answer}']:.2f}"
    look: dict[str, Any] = {"ha": "right", "va": "center", "rotation": 0, "fontsize": 6.5, "labelpad": 3}
    axes.set_ylabel(words, color=theme.INK if right else theme.WRONG, **look)
