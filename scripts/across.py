"""Score how much maps agree between architectures and with the mean of all others, and their localization on a common grid."""

from contextlib import ExitStack

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.config.job_settings import AcrossSettings
from gradfaith.dag import job_work
from gradfaith.scoring import across_architectures, localization, score_rows
from gradfaith.storage import hdf5, parquet
from gradfaith.storage.origins import check_inputs

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)), ExitStack() as stack:
    settings = AcrossSettings.of_params(job.params.settings)
    origins = check_inputs(job.input)
    images = stack.enter_context(hdf5.ImageStore(job.input.images))
    maps = score_rows.stores_by_model(score_rows.open_map_stores(stack, job.input.maps))
    predictions = parquet.read_per_model(job.input.predictions, parquet.PREDICTIONS)
    metrics = score_rows.load_plugins("agreement", settings.metrics)
    add = stack.enter_context(parquet.writing(job.output[0], parquet.SCORES, origins))
    agreeing = [name for name in settings.across if name in across_architectures.COMPARISONS]
    inputs = (images, maps, predictions, metrics, agreeing, settings.seed)
    for scores in across_architectures.score_across_architectures(*inputs):
        add(scores)
    if settings.localization:
        evidence = score_rows.load_plugins("localization", settings.localization)
        for scores in localization.score_on_common_grid(images, maps, predictions, evidence):
            add(scores)
