"""Decode and fit every image and its masks, and write them to one HDF5 store."""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.config.job_settings import PackImagesSettings
from gradfaith.dag import job_work
from gradfaith.dag.plan import Plan
from gradfaith.data.fit import Harmoniser
from gradfaith.data.pack import pack_images
from gradfaith.data.raw_files import open_raw
from gradfaith.storage import parquet
from gradfaith.storage.origins import check_inputs
from gradfaith.storage.paths import PROJECT

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)):
    settings = PackImagesSettings.of_params(job.params.settings)
    origins = check_inputs(job.input)
    raw = open_raw(settings, Plan.read(job.config, PROJECT).dataset.raw)
    table = parquet.read_manifest_with_parts(job.input.manifest, job.input.splits)
    pack_images(
        job.output[0], table, raw.reader, raw.folder, raw.options,
        size=settings.size, fit=settings.fit, channels=settings.channels,
        harmonise=Harmoniser(**settings.harmonise.model_dump()), threads=job.threads, made_from=origins,
    )  # fmt: skip
