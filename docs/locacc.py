"""Print the table of locacc.md from a finished embedded study: maps of the first seed, true class, lesions only."""

import numpy as np

from gradfaith.metrics.maps.evaluate import evaluate
from gradfaith.scoring.score_rows import rows_of_target
from gradfaith.storage.hdf5 import ImageStore, MapStore

RESULTS = "results/phantom"
ASKED = [("resnet", "controls", "centre"), *((arch, "cams", "gradcam") for arch in ("resnet", "densenet", "levit"))]

print(
    "| map | marked share of the image | of the lungs | LocAcc | marked pixels that are lesion |\n|---|---|---|---|---|"
)
with ImageStore(f"{RESULTS}/data/images.h5") as images:
    for arch, bundle, method in [*ASKED, ("resnet", "controls", "random-grid")]:
        with MapStore(f"{RESULTS}/maps/{arch}/seed-0/{bundle}.h5") as maps:
            rows = rows_of_target(maps.rows, "true")
            ids = list(maps.rows["image_id"].iloc[rows])
            lesion, known = images.mask("evidence", ids)
            lungs, _ = images.mask("lungs", ids)
            unit = evaluate(maps.maps(method, 0)[rows], grid="native", signed=False, size=images.size).unit
        marked, lesion, lungs = (array[known] for array in (unit >= 0.5, lesion, lungs))
        inside = (marked & lesion).sum((1, 2))
        shares = [marked.mean((1, 2)), (marked & lungs).sum((1, 2)) / lungs.sum((1, 2)), inside / lesion.sum((1, 2))]
        precision = np.where(marked.any((1, 2)), inside / np.maximum(marked.sum((1, 2)), 1), np.nan)
        cells = " | ".join(f"{np.nanmean(values):.3f}" for values in (*shares, precision))
        print(f"| {method}, {arch} | {cells} |")
