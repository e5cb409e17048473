"""Train one architecture with one seed, or take its weights as they are."""

from functools import partial
from pathlib import Path

import gradfaith.job
from gradfaith import device, stores, tables, uses
from gradfaith.models import checkpoint, learn

job = snakemake

with gradfaith.job.running(job.log[0]), stores.Images(job.input.images) as images:
    table = tables.read(job.input.manifest, tables.MANIFEST).merge(
        tables.read(job.input.splits, tables.SPLITS), on="image_id"
    )
    trained = learn.model(
        job.params.settings,
        images,
        table,
        probe=partial(uses.probed, words=job.resources.probed),
        seed=int(job.wildcards.seed),
        weights=Path(job.input.weights) if job.input.get("weights") else None,
        device=device.given(job.resources, job.threads),
    )
    learn.write_history(job.output.history, trained)
    checkpoint.save(
        Path(job.output.weights).parent,
        trained.classifier,
        learn.card(trained, job.params.settings, images, job.wildcards),
    )
