"""Predict every image with one model, and measure the time per image."""

from pathlib import Path

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.config.compute import Compute
from gradfaith.config.job_settings import PredictSettings
from gradfaith.dag import job_work
from gradfaith.models import checkpoint
from gradfaith.models.predict import prediction_table
from gradfaith.models.speed import prepare_for_job
from gradfaith.runtime.device import device_for_job
from gradfaith.storage import hdf5, parquet
from gradfaith.storage.origins import check_inputs

job = snakemake
compute = Compute.of_config(job.config)

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)), hdf5.ImageStore(job.input.images) as images:
    settings = PredictSettings.of_params(job.params.settings)
    origins = check_inputs(job.input)
    table = parquet.read_manifest_with_parts(job.input.manifest, job.input.splits)
    model = checkpoint.load(Path(job.input.weights), Path(job.input.card))
    # Only after the weights were read: damaged weights are written again from the training's state.
    gradfaith.runtime.job.discard_training_state(job.input.card)
    model = prepare_for_job(model.to(device_for_job(compute, job.threads, job.resources)), settings.passes)
    temperature = checkpoint.read_card(Path(job.input.card)).get("temperature")  # if it was trained in another study
    predictions = prediction_table(
        model, images, table, settings.classes, chunk=compute.chunk, adopted_temperature=temperature
    )
    parquet.write(job.output[0], predictions, parquet.PREDICTIONS, origins)
