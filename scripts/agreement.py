"""How much the maps of one architecture's seeds agree."""

from contextlib import ExitStack

from gradfaith import score, stores, tables
from gradfaith.job import running

job = snakemake
asked, bundles = job.params.settings, len(job.params.bundles)

with running(job.log[0]), ExitStack() as stack:
    images = stack.enter_context(stores.Images(job.input.images))
    opened = score.open_all(stack, job.input.maps)  # in the order of expand: seed by seed, bundle by bundle
    maps = {seed: opened[place * bundles : (place + 1) * bundles] for place, seed in enumerate(job.params.seeds)}
    predictions = tables.read_all(job.input.predictions, tables.PREDICTIONS)
    metrics = score.chosen("agreement", asked["metrics"])
    found = score.agreement(images, maps, predictions, metrics, {"arch": job.wildcards.arch}, asked["seed"])
    tables.write(job.output[0], found, tables.SCORES)
