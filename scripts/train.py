"""Train one architecture with one seed, or go on with it, or take its weights as they are."""

from functools import partial
from pathlib import Path

import gradfaith.runtime.job
from gradfaith.attribution import bound_method
from gradfaith.models import checkpoint
from gradfaith.models.training import train_job
from gradfaith.models.training.checkpoints import Keeper
from gradfaith.runtime import device
from gradfaith.storage import hdf5, parquet, paths

job = snakemake
resources, settings, seed = job.resources, job.params.settings, int(job.wildcards.seed)

with gradfaith.runtime.job.running(job.log[0]), hdf5.Images(job.input.images) as images:
    table = parquet.read(job.input.manifest, parquet.MANIFEST).merge(
        parquet.read(job.input.splits, parquet.SPLITS), on="image_id"
    )
    weights = Path(job.input.weights) if job.input.get("weights") else None
    decides = train_job.decides(settings, images, table, seed=seed, weights=weights)
    with Keeper(paths.Layout.progress(job.output.weights), decides, every=resources.save_seconds) as keeper:
        trained = train_job.model(
            settings,
            images,
            table,
            probe=partial(bound_method.probed, words=resources.probed),
            seed=seed,
            weights=weights,
            device=device.given(resources, job.threads),
            machine=train_job.Machine(
                resources.images,
                device.memory(resources.mem_mb),
                paths.Layout.events(job.output.weights) if resources.tensorboard else None,
            ),
            keeper=keeper,
        )
        train_job.write_history(job.output.history, trained)
        about = train_job.card(trained, settings, images, job.wildcards, weights)
        checkpoint.save(Path(job.output.weights).parent, trained.classifier, about)
        keeper.written()
