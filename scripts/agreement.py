"""How much the maps of one architecture's seeds agree."""

from contextlib import ExitStack

import gradfaith.job
from gradfaith import agreement, rows, stores, tables

job = snakemake
asked, bundles = job.params.settings, len(job.params.bundles)

with gradfaith.job.running(job.log[0]), ExitStack() as stack:
    images = stack.enter_context(stores.Images(job.input.images))
    opened = rows.open_all(stack, job.input.maps, images)  # in the order of expand: seed by seed, bundle by bundle
    maps = {seed: opened[place * bundles : (place + 1) * bundles] for place, seed in enumerate(job.params.seeds)}
    predictions = tables.read_all(job.input.predictions, tables.PREDICTIONS)
    metrics = rows.chosen("agreement", asked["metrics"])
    found = agreement.scores(images, maps, predictions, metrics, {"arch": job.wildcards.arch}, asked["seed"])
    tables.write(job.output[0], found, tables.SCORES)
