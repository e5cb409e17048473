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
    model = checkpoint.load(Path(job.input.weights), Path(job.input.card))
    # Only now, as it is whole: who finds it torn must not have lost the state that writes it again.
    gradfaith.job.accepted(job.input.card)
    model = model.to(device.given(job.resources, job.threads))
    own = checkpoint.read_card(Path(job.input.card)).get("temperature")  # of a model that was trained in another study
    most = device.most(job.resources.chunk)
    found = answer.predictions(model, images, table, job.params.classes, chunk=most, own_temperature=own)
    tables.write(job.output[0], found, tables.PREDICTIONS)
