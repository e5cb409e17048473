"""One cell: the methods of a bundle asked again, of models that forget step by step."""

from pathlib import Path

import gradfaith.job
from gradfaith import device, randomisation, rows, stores, tables
from gradfaith.models import checkpoint

job = snakemake

with gradfaith.job.running(job.log[0]), stores.Images(job.input.images) as images, stores.Maps(job.input.maps) as maps:
    rows.made_from(maps, images, checkpoint.read_card(Path(job.input.card))["weights_sha256"])
    predictions = tables.read(job.input.predictions, tables.PREDICTIONS)
    model = checkpoint.load(Path(job.input.weights), Path(job.input.card)).to(
        device.choose(job.resources.device, job.threads)
    )
    cell = {"arch": job.wildcards.arch, "seed": int(job.wildcards.seed)}
    found = randomisation.scores(
        model, images, maps, predictions, job.params.settings, cell, most=device.most(job.resources.chunk)
    )
    tables.write(job.output[0], found, tables.SCORES)
