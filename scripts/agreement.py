"""Score how much the maps of one architecture's seeds agree."""

from contextlib import ExitStack

import gradfaith.runtime.job
from gradfaith.scoring import agreement, score_rows
from gradfaith.storage import hdf5, parquet

job = snakemake
settings, bundles = job.params.settings, len(job.params.bundles)

with gradfaith.runtime.job.running(job.log[0]), ExitStack() as stack:
    images = stack.enter_context(hdf5.ImageStore(job.input.images))
    opened = score_rows.open_map_stores(
        stack, job.input.maps, images
    )  # in the order of expand: seed by seed, bundle by bundle
    maps = {seed: opened[place * bundles : (place + 1) * bundles] for place, seed in enumerate(job.params.seeds)}
    predictions = parquet.read_all(job.input.predictions, parquet.PREDICTIONS)
    metrics = score_rows.load_plugins("agreement", settings["metrics"])
    scores = agreement.score_agreement(
        images, maps, predictions, metrics, {"arch": job.wildcards.arch}, settings["seed"]
    )
    parquet.write(job.output[0], scores, parquet.SCORES)
