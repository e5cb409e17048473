"""How much the maps of different architectures agree, and each model's with the mean of all others."""

from contextlib import ExitStack

import gradfaith.job
from gradfaith import across, rows, stores, tables

job = snakemake
asked, bundles = job.params.settings, len(job.params.bundles)

with gradfaith.job.running(job.log[0]), ExitStack() as stack:
    images = stack.enter_context(stores.Images(job.input.images))
    opened = rows.open_all(stack, job.input.maps, images)  # in the order of expand: model by model, bundle by bundle
    models = [(arch, seed) for arch in job.params.architectures for seed in job.params.seeds]
    maps = {model: opened[place * bundles : (place + 1) * bundles] for place, model in enumerate(models)}
    predictions = tables.read_all(job.input.predictions, tables.PREDICTIONS)
    metrics = rows.chosen("agreement", asked["metrics"])
    found = across.scores(images, maps, predictions, metrics, asked["across"], asked["seed"])
    tables.write(job.output[0], found, tables.SCORES)
