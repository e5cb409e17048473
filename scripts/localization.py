"""How well the maps of one model lie on the evidence."""

from contextlib import ExitStack

from gradfaith import score, stores, tables
from gradfaith.job import running

job = snakemake

with running(job.log[0]), ExitStack() as stack:
    images = stack.enter_context(stores.Images(job.input.images))
    maps = score.open_all(stack, job.input.maps)
    predictions = tables.read(job.input.predictions, tables.PREDICTIONS)
    metrics = score.chosen("localization", job.params.settings["metrics"])
    cell = {"arch": job.wildcards.arch, "seed": int(job.wildcards.seed)}
    tables.write(job.output[0], score.localization(images, maps, predictions, metrics, cell), tables.SCORES)
