"""Score the maps of one cell with a battery of faithfulness metrics: what the model answers to changed images."""

from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.config.compute import Compute
from gradfaith.dag import job_work
from gradfaith.models import checkpoint
from gradfaith.runtime.device import device_for_job
from gradfaith.scoring import score_rows
from gradfaith.scoring.faithfulness import score_faithfulness
from gradfaith.storage import parquet
from gradfaith.storage.hdf5 import ImageStore, MapStore
from gradfaith.storage.origins import check_inputs

job = snakemake
settings, compute = job.params.settings, Compute.of_config(job.config)

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)), ExitStack() as stack:
    origins = check_inputs(job.input)
    images, maps = stack.enter_context(ImageStore(job.input.images)), stack.enter_context(MapStore(job.input.maps))
    predictions = parquet.read(job.input.predictions, parquet.PREDICTIONS)
    model = checkpoint.load(Path(job.input.weights), Path(job.input.card))
    model = model.to(device_for_job(compute, job.threads, job.resources))
    metrics = score_rows.load_plugins("faithfulness", settings["metrics"])
    imputers = score_rows.load_plugins("imputers", settings["imputers"])
    cell = {"arch": job.wildcards.arch, "seed": int(job.wildcards.seed)}
    explain = None
    if "methods" in settings:  # imported by name, so that only batteries that run methods again depend on its code
        rerun = import_module("gradfaith.attribution.rerun")
        explain = rerun.build_reexplainer(model, images, maps, metrics, settings, cell, batch_limit=compute.chunk)
    inputs = (model, images, maps, predictions, metrics, imputers, cell)
    add_scores = stack.enter_context(parquet.writing(job.output.scores, parquet.SCORES, origins))
    add_curves = stack.enter_context(parquet.writing(job.output.curves, parquet.CURVES, origins))
    for tables in score_faithfulness(*inputs, settings["seed"], chunk=compute.chunk, explain=explain):
        add_scores(tables.scores)
        add_curves(tables.curves)
