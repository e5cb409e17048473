"""Take another study's trained model as it is: a card of one's own for weights that stay where they lie."""

from functools import partial
from pathlib import Path

import gradfaith.job
from gradfaith import tables, uses
from gradfaith.models import checkpoint, foreign

job = snakemake

with gradfaith.job.running(job.log[0]):
    predictions = tables.read(job.input.predictions, tables.PREDICTIONS)
    weights, card, probe = (
        Path(job.input.weights),
        Path(job.input.card),
        partial(uses.probed, words=job.resources.probed),
    )
    own = foreign.adopted(weights, card, predictions, job.params.settings, probe)
    checkpoint.write_card(Path(job.output[0]), own)
