"""Read back what a panel shows: points with their colours, intervals, and lines."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
import seaborn
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex

SEABORN_DRAWS = {
    "scatterplot", "lineplot", "heatmap", "swarmplot", "stripplot", "pointplot", "boxplot", "barplot", "histplot", "kdeplot",
}  # fmt: skip


@contextmanager
def calls_of_seaborn() -> Iterator[list[str]]:
    """The names of seaborn's functions that draw while the block runs; they draw as ever."""
    called: list[str] = []

    def counted(name: str) -> Any:
        own = getattr(seaborn, name)
        return lambda *given, **more: called.append(name) or own(*given, **more)

    with pytest.MonkeyPatch.context() as patch:
        for name in SEABORN_DRAWS:
            patch.setattr(seaborn, name, counted(name))
        yield called


class Point(NamedTuple):
    """A drawn point."""

    x: float
    y: float
    edge: str
    face: str


def points(axes: Axes) -> list[Point]:
    """Every point of a panel that is an estimate; crosses and ticks lie below or above the estimates."""
    found = []
    for marks in axes.collections:
        if not isinstance(marks, PathCollection) or marks.get_zorder() != 4:
            continue
        places = np.asarray(marks.get_offsets())
        edges, faces = (
            np.resize(colours, (len(places), 4)) for colours in (marks.get_edgecolor(), marks.get_facecolor())
        )
        found += [Point(*at, to_hex(e), to_hex(f)) for at, e, f in zip(places.tolist(), edges, faces, strict=True)]
    return found


def intervals(axes: Axes) -> list[list[list[float]]]:
    """Both ends of every interval of a panel, as [[x, y], [x, y]]."""
    lines = [marks for marks in axes.collections if isinstance(marks, LineCollection)]
    return [np.asarray(segment).tolist() for marks in lines for segment in marks.get_segments()]
