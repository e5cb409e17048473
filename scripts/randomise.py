"""Score one cell's sanity check: the methods of a bundle on models that are randomised step by step."""

from pathlib import Path

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.config.compute import Compute
from gradfaith.config.job_settings import RandomiseSettings
from gradfaith.dag import job_work
from gradfaith.models import checkpoint
from gradfaith.runtime.device import device_for_job
from gradfaith.scoring.randomisation import score_randomisation
from gradfaith.storage import hdf5, parquet
from gradfaith.storage.origins import check_inputs

job = snakemake
compute = Compute.of_config(job.config)

with (
    gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)),
    hdf5.ImageStore(job.input.images) as images,
    hdf5.MapStore(job.input.maps) as maps,
):
    settings = RandomiseSettings.of_params(job.params.settings)
    origins = check_inputs(job.input)
    predictions = parquet.read(job.input.predictions, parquet.PREDICTIONS)
    model = checkpoint.load(Path(job.input.weights), Path(job.input.card))
    model = model.to(device_for_job(compute, job.threads, job.resources))
    cell = {"arch": job.wildcards.arch, "seed": int(job.wildcards.seed)}
    inputs = (model, images, maps, predictions, settings, cell)
    with parquet.writing(job.output[0], parquet.SCORES, origins) as add:
        for scores in score_randomisation(*inputs, batch_limit=compute.chunk):
            add(scores)
