"""How much the maps of different architectures agree, and each model's with the mean of all others."""

from contextlib import ExitStack

import gradfaith.runtime.job
from gradfaith.scoring import across_architectures, score_rows
from gradfaith.storage import hdf5, parquet

job = snakemake
asked, bundles = job.params.settings, len(job.params.bundles)

with gradfaith.runtime.job.running(job.log[0]), ExitStack() as stack:
    images = stack.enter_context(hdf5.Images(job.input.images))
    opened = score_rows.open_all(
        stack, job.input.maps, images
    )  # in the order of expand: model by model, bundle by bundle
    models = [(arch, seed) for arch in job.params.architectures for seed in job.params.seeds]
    maps = {model: opened[place * bundles : (place + 1) * bundles] for place, model in enumerate(models)}
    predictions = parquet.read_all(job.input.predictions, parquet.PREDICTIONS)
    metrics = score_rows.chosen("agreement", asked["metrics"])
    found = across_architectures.scores(images, maps, predictions, metrics, asked["across"], asked["seed"])
    parquet.write(job.output[0], found, parquet.SCORES)
