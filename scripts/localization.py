"""How well the maps of one model lie on the evidence."""

from contextlib import ExitStack

import gradfaith.job
from gradfaith import localization, rows, stores, tables

job = snakemake

with gradfaith.job.running(job.log[0]), ExitStack() as stack:
    images = stack.enter_context(stores.Images(job.input.images))
    maps = rows.open_all(stack, job.input.maps, images)
    predictions = tables.read(job.input.predictions, tables.PREDICTIONS)
    metrics = rows.chosen("localization", job.params.settings["metrics"])
    cell = {"arch": job.wildcards.arch, "seed": int(job.wildcards.seed)}
    tables.write(job.output[0], localization.scores(images, maps, predictions, metrics, cell), tables.SCORES)
