"""Measure the time for inferring groups, and print the result; with TABLE, write the table that the docs cite.

    OMP_NUM_THREADS=1 python benchmarks/groups.py FOLDER [TABLE]

FOLDER contains the compact copy of IQ-OTH/NCCD and its manifest.csv. Times are processor time, not wall time.
"""

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from gradfaith.config.grouping import VERSION, Grouping
from gradfaith.data.grouping import infer, similarity
from gradfaith.data.manifest import pixel_hash
from gradfaith.data.readers import contract

ROOT = Path(__file__).parents[1]


def main(folder: Path, table: Path | None) -> None:
    how = Grouping(**yaml.safe_load((ROOT / "config/datasets/iqothnccd.yaml").read_text())["groups"])
    links = [
        infer.MustLink(*line.cells)
        for line in contract.read_table(ROOT / how.must_links, ("a", "b", "reason"), "must-links")
    ]
    rows = pd.read_csv(folder / "manifest.csv")
    start = time.process_time()
    pictures = [np.asarray(Image.open(folder / file)) for file in rows["file"]]
    decoded = time.process_time()
    looks = similarity.stack_views((similarity.view_image(picture, how.cues) for picture in pictures), len(pictures))
    looked = time.process_time()
    names = [Path(file).name for file in rows["file"]]
    found = infer.infer_groups(looks, names, list(rows["label"]), list(map(pixel_hash, pictures)), how, links)
    ended = time.process_time()
    print(f"{len(rows)} images: decoded in {decoded - start:.1f} s, looked at in {looked - decoded:.1f} s,", end=" ")
    print(f"joined with 36 other settings in {ended - looked:.1f} s")
    print(f"groups {found.spread['groups']}, links {found.links['cue'].value_counts().to_dict()}")
    if table:
        columns = {"name": names, "sha256": rows["orig_sha256"], "group": found.group, "version": VERSION}
        pd.DataFrame(columns).to_csv(table, sep="\t", index=False, lineterminator="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
