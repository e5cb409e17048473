"""One cell: the methods of a bundle asked again, of models that forget step by step."""

from pathlib import Path

import gradfaith.runtime.job
from gradfaith.models import checkpoint
from gradfaith.runtime import batching, device
from gradfaith.scoring import randomisation, score_rows
from gradfaith.storage import hdf5, parquet

job = snakemake

with (
    gradfaith.runtime.job.running(job.log[0]),
    hdf5.Images(job.input.images) as images,
    hdf5.Maps(job.input.maps) as maps,
):
    score_rows.made_from(maps, images, checkpoint.read_card(Path(job.input.card))["weights_sha256"])
    predictions = parquet.read(job.input.predictions, parquet.PREDICTIONS)
    model = checkpoint.load(Path(job.input.weights), Path(job.input.card))
    model = model.to(device.given(job.resources, job.threads))
    cell = {"arch": job.wildcards.arch, "seed": int(job.wildcards.seed)}
    found = randomisation.scores(
        model, images, maps, predictions, job.params.settings, cell, most=batching.most(job.resources.chunk)
    )
    parquet.write(job.output[0], found, parquet.SCORES)
