"""One cell: what the model says when pixels that a map shows are changed."""

from pathlib import Path

from gradfaith import device, faithful, score, stores, tables
from gradfaith.job import running
from gradfaith.models import checkpoint

job = snakemake
asked = job.params.settings

with running(job.log[0]), stores.Images(job.input.images) as images, stores.Maps(job.input.maps) as maps:
    predictions = tables.read(job.input.predictions, tables.PREDICTIONS)
    model = checkpoint.load(Path(job.input.weights)).to(device.choose(job.resources.device, job.threads))
    metrics, imputers = score.chosen("faithfulness", asked["metrics"]), score.chosen("imputers", asked["imputers"])
    cell = {"arch": job.wildcards.arch, "seed": int(job.wildcards.seed)}
    found = faithful.scores(
        model, images, maps, predictions, metrics, imputers, cell, asked["seed"], chunk=job.resources.chunk
    )
    tables.write(job.output[0], found, tables.SCORES)
