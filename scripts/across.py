"""Score how much maps agree between architectures, and between each model and the mean of all others."""

from contextlib import ExitStack

import gradfaith.runtime.job
from gradfaith.scoring import across_architectures, score_rows
from gradfaith.storage import hdf5, parquet

job = snakemake
settings, bundles = job.params.settings, len(job.params.bundles)

with gradfaith.runtime.job.running(job.log[0]), ExitStack() as stack:
    images = stack.enter_context(hdf5.ImageStore(job.input.images))
    opened = score_rows.open_map_stores(
        stack, job.input.maps, images
    )  # in the order of expand: model by model, bundle by bundle
    models = [(arch, seed) for arch in job.params.architectures for seed in job.params.seeds]
    maps = {model: opened[place * bundles : (place + 1) * bundles] for place, model in enumerate(models)}
    predictions = parquet.read_all(job.input.predictions, parquet.PREDICTIONS)
    metrics = score_rows.load_plugins("agreement", settings["metrics"])
    scores = across_architectures.score_across_architectures(
        images, maps, predictions, metrics, settings["across"], settings["seed"]
    )
    parquet.write(job.output[0], scores, parquet.SCORES)
