"""Take another study's trained model as it is: a card of one's own for weights that stay where they lie."""

from functools import partial
from pathlib import Path

import gradfaith.runtime.job
from gradfaith.attribution import bound_method
from gradfaith.models import checkpoint
from gradfaith.storage import parquet

job = snakemake

with gradfaith.runtime.job.running(job.log[0]):
    predictions = parquet.read(job.input.predictions, parquet.PREDICTIONS)
    weights, card, probe = (
        Path(job.input.weights),
        Path(job.input.card),
        partial(bound_method.probed, words=job.resources.probed),
    )
    own = checkpoint.adopted(weights, card, predictions, job.params.settings, probe)
    checkpoint.write_card(Path(job.output[0]), own)
