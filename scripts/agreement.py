"""How much the maps of one architecture's seeds agree."""

from contextlib import ExitStack

import gradfaith.runtime.job
from gradfaith.scoring import agreement, score_rows
from gradfaith.storage import hdf5, parquet

job = snakemake
asked, bundles = job.params.settings, len(job.params.bundles)

with gradfaith.runtime.job.running(job.log[0]), ExitStack() as stack:
    images = stack.enter_context(hdf5.Images(job.input.images))
    opened = score_rows.open_all(
        stack, job.input.maps, images
    )  # in the order of expand: seed by seed, bundle by bundle
    maps = {seed: opened[place * bundles : (place + 1) * bundles] for place, seed in enumerate(job.params.seeds)}
    predictions = parquet.read_all(job.input.predictions, parquet.PREDICTIONS)
    metrics = score_rows.chosen("agreement", asked["metrics"])
    found = agreement.scores(images, maps, predictions, metrics, {"arch": job.wildcards.arch}, asked["seed"])
    parquet.write(job.output[0], found, parquet.SCORES)
