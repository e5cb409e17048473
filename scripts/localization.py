"""Score how well the maps of one model match the evidence."""

from contextlib import ExitStack

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.config.job_settings import LocalizationSettings
from gradfaith.dag import job_work
from gradfaith.scoring import localization, score_rows
from gradfaith.storage import hdf5, parquet
from gradfaith.storage.origins import check_inputs

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)), ExitStack() as stack:
    settings = LocalizationSettings.of_params(job.params.settings)
    origins = check_inputs(job.input)
    images = stack.enter_context(hdf5.ImageStore(job.input.images))
    maps = score_rows.open_map_stores(stack, job.input.maps)
    predictions = parquet.read(job.input.predictions, parquet.PREDICTIONS)
    metrics = score_rows.load_plugins("localization", settings.metrics)
    cell = {"arch": job.wildcards.arch, "seed": int(job.wildcards.seed)}
    add = stack.enter_context(parquet.writing(job.output[0], parquet.SCORES, origins))
    for scores in localization.score_localization(images, maps, predictions, metrics, cell):
        add(scores)
