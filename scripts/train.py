"""Train one architecture with one seed, or go on with it, or take its weights as they are."""

from functools import partial
from pathlib import Path

import gradfaith.job
from gradfaith import device, layout, stores, tables, uses
from gradfaith.models import checkpoint, learn
from gradfaith.models.progress import Keeper

job = snakemake
resources, settings, seed = job.resources, job.params.settings, int(job.wildcards.seed)

with gradfaith.job.running(job.log[0]), stores.Images(job.input.images) as images:
    table = tables.read(job.input.manifest, tables.MANIFEST).merge(
        tables.read(job.input.splits, tables.SPLITS), on="image_id"
    )
    weights = Path(job.input.weights) if job.input.get("weights") else None
    decides = learn.decides(settings, images, table, seed=seed, weights=weights)
    with Keeper(layout.Layout.progress(job.output.weights), decides, every=resources.save_seconds) as keeper:
        trained = learn.model(
            settings,
            images,
            table,
            probe=partial(uses.probed, words=resources.probed),
            seed=seed,
            weights=weights,
            device=device.given(resources, job.threads),
            machine=learn.Machine(
                resources.images,
                device.memory(resources.mem_mb),
                layout.Layout.events(job.output.weights) if resources.tensorboard else None,
            ),
            keeper=keeper,
        )
        learn.write_history(job.output.history, trained)
        about = learn.card(trained, settings, images, job.wildcards, weights)
        checkpoint.save(Path(job.output.weights).parent, trained.classifier, about)
        keeper.written()
