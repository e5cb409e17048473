"""Score the maps of one cell with a battery of faithfulness metrics: the model's output on modified images."""

from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.config.compute import Compute
from gradfaith.config.job_settings import FaithfulnessSettings
from gradfaith.dag import job_work
from gradfaith.models import checkpoint, speed
from gradfaith.runtime.device import device_for_job
from gradfaith.scoring import faithfulness, score_rows
from gradfaith.storage import hdf5, parquet
from gradfaith.storage.origins import check_inputs

job = snakemake
compute = Compute.of_config(job.config)

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)), ExitStack() as stack:
    settings, origins = FaithfulnessSettings.of_params(job.params.settings), check_inputs(job.input)
    images, maps = map(stack.enter_context, (hdf5.ImageStore(job.input.images), hdf5.MapStore(job.input.maps)))
    predictions = parquet.read(job.input.predictions, parquet.PREDICTIONS)
    device = device_for_job(compute, job.threads, job.resources)
    model = checkpoint.load(Path(job.input.weights), Path(job.input.card)).to(device)
    metrics = score_rows.load_plugins("faithfulness", settings.metrics)
    imputers = score_rows.load_plugins("imputers", settings.imputers)
    cell, explain = {"arch": job.wildcards.arch, "seed": int(job.wildcards.seed)}, None
    if settings.rerun:  # imported by name, so that only batteries that run methods again depend on its code
        build, key = import_module("gradfaith.attribution.rerun").build_reexplainer, (settings.seed, *cell.values())
        explain = build(model, images, maps, metrics, settings.rerun, key, batch_limit=compute.chunk)
    inputs = (speed.prepare_for_job(model, settings.passes), images, maps, predictions, metrics, imputers, cell)
    add_scores = stack.enter_context(parquet.writing(job.output.scores, parquet.SCORES, origins))
    add_curves = stack.enter_context(parquet.writing(job.output.curves, parquet.CURVES, origins))
    for tables in faithfulness.score_faithfulness(*inputs, settings.seed, chunk=compute.chunk, explain=explain):
        add_scores(tables.scores)
        add_curves(tables.curves)
