"""gradfaith show MAPS.h5: print what a map store holds, and where it comes from."""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradfaith.cli.command import Command

COMMAND = Command(summary="print what a map store holds, and where it comes from")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("maps", type=Path, help="a map store of a study, results/<study>/maps/.../<bundle>.h5")


def run(arguments: argparse.Namespace) -> None:
    """Print the methods, diagnostics and stamp of a map store."""
    from gradfaith.storage.hdf5 import MapStore

    with MapStore(arguments.maps) as maps:
        for label, info in maps.methods.items():
            lost = sum(int((maps.status(label, copy) != "ok").sum()) for copy in range(info.copies))
            height, width = maps.maps(label, 0, slice(0, 1)).shape[1:]
            layer, score = info.layer or "-", info.score or "-"
            size = f"{len(maps.rows)} maps x {info.copies}, {height} x {width}"
            print(f"{label}: {size}, layer {layer}, score {score}, {lost} not ok")
            for name, values in maps.notes(label).items():
                print(f"    {name}: {_format_note(values)}")
        print(json.dumps({key: value for key, value in maps.stamp.items() if key != "settings"}, indent=2))


def _format_note(values: NDArray[np.float32]) -> str:
    """Return a diagnostic's mean and range over the maps."""
    known = values[np.isfinite(values)]
    if not known.size:
        return "no finite value"
    unknown = f", {values.size - known.size} not finite" if known.size < values.size else ""
    low, high = known.min(), known.max()
    return f"{low:.4g}{unknown}" if low == high else f"mean {known.mean():.4g}, from {low:.4g} to {high:.4g}{unknown}"
