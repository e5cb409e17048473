"""What one model answers for every image, and how long an image takes."""

from pathlib import Path

import gradfaith.job
from gradfaith import device, stores, tables
from gradfaith.models import answer, checkpoint

job = snakemake

with gradfaith.job.running(job.log[0]), stores.Images(job.input.images) as images:
    table = tables.read(job.input.manifest, tables.MANIFEST).merge(
        tables.read(job.input.splits, tables.SPLITS), on="image_id"
    )
    model = checkpoint.load(Path(job.input.weights)).to(device.choose(job.resources.device, job.threads))
    found = answer.predictions(model, images, table, job.params.classes, chunk=device.most(job.resources.chunk))
    tables.write(job.output[0], found, tables.PREDICTIONS)
