"""Write a card of this study for another study's trained model; its weights are not copied."""

from functools import partial
from pathlib import Path

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.attribution.bound_method import probe_methods
from gradfaith.config.job_settings import AdoptSettings
from gradfaith.dag import job_work
from gradfaith.dag.plan import Plan
from gradfaith.models import checkpoint
from gradfaith.storage import parquet
from gradfaith.storage.origins import check_inputs
from gradfaith.storage.paths import PROJECT

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)):
    check_inputs(job.input)
    predictions = parquet.read(job.input.predictions, parquet.PREDICTIONS)
    methods = Plan.read(job.config, PROJECT).all_method_settings(job.wildcards.arch)
    card = checkpoint.adopt_card(
        Path(job.input.weights),
        Path(job.input.card),
        predictions,
        AdoptSettings.of_params(job.params.settings),
        partial(probe_methods, settings=methods),
    )
    checkpoint.write_card(Path(job.output[0]), card)
