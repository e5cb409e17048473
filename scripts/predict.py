"""What one model answers for every image, and how long an image takes."""

from pathlib import Path

import gradfaith.runtime.job
from gradfaith.models import checkpoint, predict
from gradfaith.runtime import batching, device
from gradfaith.storage import hdf5, parquet

job = snakemake

with gradfaith.runtime.job.running(job.log[0]), hdf5.Images(job.input.images) as images:
    table = parquet.read(job.input.manifest, parquet.MANIFEST).merge(
        parquet.read(job.input.splits, parquet.SPLITS), on="image_id"
    )
    model = checkpoint.load(Path(job.input.weights), Path(job.input.card))
    # Only now, as it is whole: who finds it torn must not have lost the state that writes it again.
    gradfaith.runtime.job.accepted(job.input.card)
    model = model.to(device.given(job.resources, job.threads))
    own = checkpoint.read_card(Path(job.input.card)).get("temperature")  # of a model that was trained in another study
    most = batching.most(job.resources.chunk)
    found = predict.predictions(model, images, table, job.params.classes, chunk=most, own_temperature=own)
    parquet.write(job.output[0], found, parquet.PREDICTIONS)
