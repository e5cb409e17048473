"""Compute the maps of one cell: every method of a bundle, for every explained image of one model."""

from pathlib import Path

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.attribution.bound_method import bind_methods, tapped_layers
from gradfaith.attribution.cell import MapCell, map_rows, provenance_stamp, select_images
from gradfaith.config.compute import Compute
from gradfaith.config.job_settings import ExplainSettings
from gradfaith.dag import job_work
from gradfaith.models import checkpoint
from gradfaith.models.speed import prepare_for_job
from gradfaith.runtime.device import device_for_job
from gradfaith.storage import hdf5, parquet
from gradfaith.storage.origins import check_inputs

job = snakemake
compute = Compute.of_config(job.config)
with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)), hdf5.ImageStore(job.input.images) as images:
    settings, origins = ExplainSettings.of_params(job.params.settings), check_inputs(job.input)
    predictions = parquet.read(job.input.predictions, parquet.PREDICTIONS)
    selected = select_images(predictions, settings.explain, settings.seed)
    contrast = images.contrast(list(selected["image_id"])) if settings.contrast else ()
    rows = map_rows(selected, settings.classes, contrast)
    model = checkpoint.load(Path(job.input.weights), Path(job.input.card))
    model = model.to(device_for_job(compute, job.threads, job.resources))
    methods = bind_methods(model, settings.methods)
    model = prepare_for_job(model, settings.passes, tapped_layers(methods))
    stamp = provenance_stamp(job.wildcards, settings, job.params.code, images, Path(job.input.card), model)
    cell = MapCell(
        model, images.pixels, rows, methods,
        key=(settings.seed, job.wildcards.arch, int(job.wildcards.seed)), copies=settings.copies,
        batch_limit=compute.chunk, organ=(lambda ids: images.mask(settings.organ, ids)[0]) if settings.organ else None,
    )  # fmt: skip
    with hdf5.MapWriter(job.output[0], rows, stamp, origins) as maps:
        for chunk in cell.map_chunks():
            maps.put(chunk.label, chunk.info, chunk.start, chunk.maps, chunk.seconds, chunk.diagnostics)
