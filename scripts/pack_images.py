"""Decode and fit every image and its masks, and write them to one HDF5 store."""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.dag import job_work
from gradfaith.dag.plan import Plan
from gradfaith.data.pack import pack_images
from gradfaith.data.raw_files import open_raw
from gradfaith.storage import parquet
from gradfaith.storage.origins import check_inputs
from gradfaith.storage.paths import PROJECT

job = snakemake
settings = job.params.settings

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)):
    origins = check_inputs(job.input)
    raw = open_raw(settings, Plan.read(job.config, PROJECT).dataset.raw)
    table = parquet.read_manifest_with_parts(job.input.manifest, job.input.splits)
    fit = {key: settings[key] for key in ("size", "fit", "channels", "harmonise")}
    pack_images(
        job.output[0], table, raw.reader, raw.folder, raw.options, **fit, threads=job.threads, made_from=origins
    )
