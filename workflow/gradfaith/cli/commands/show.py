"""gradfaith show MAPS.h5: print what a map store holds, and where it comes from."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradfaith.cli.command import Command, add_json_argument, format_json

if TYPE_CHECKING:
    from gradfaith.storage.hdf5 import MapStore

COMMAND = Command(summary="print what a map store holds, and where it comes from", anywhere=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("maps", type=Path, help="a map store of a study, results/<study>/maps/.../<bundle>.h5")
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print the methods, diagnostics and stamp of a map store."""
    from gradfaith.storage.hdf5 import MapStore

    with MapStore(arguments.maps) as maps:
        described = {label: _describe(maps, label) for label in maps.methods}
        stamp = {key: value for key, value in maps.stamp.items() if key != "settings"}
        if arguments.json:
            print(format_json({"methods": described, "stamp": stamp}))
            return
        for label, one in described.items():
            size = f"{one['maps']} maps x {one['copies']}, {one['height']} x {one['width']}"
            print(f"{label}: {size}, layer {one['layer'] or '-'}, score {one['score'] or '-'}, {one['not_ok']} not ok")
            for name, values in maps.notes(label).items():
                print(f"    {name}: {_format_note(values)}")
        print(json.dumps(stamp, indent=2))


def _describe(maps: "MapStore", label: str) -> dict[str, Any]:
    """Return what a store holds of one method."""
    info = maps.methods[label]
    height, width = maps.maps(label, 0, slice(0, 1)).shape[1:]
    lost = sum(int((maps.status(label, copy) != "ok").sum()) for copy in range(info.copies))
    return {
        "maps": len(maps.rows), "copies": info.copies, "height": height, "width": width,
        "layer": info.layer, "score": info.score, "not_ok": lost, "diagnostics": list(maps.notes(label)),
    }  # fmt: skip


def _format_note(values: NDArray[np.float32]) -> str:
    """Return a diagnostic's mean and range over the maps."""
    known = values[np.isfinite(values)]
    if not known.size:
        return "no finite value"
    unknown = f", {values.size - known.size} not finite" if known.size < values.size else ""
    low, high = known.min(), known.max()
    return f"{low:.4g}{unknown}" if low == high else f"mean {known.mean():.4g}, from {low:.4g} to {high:.4g}{unknown}"
