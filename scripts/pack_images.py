"""Decode and fit every image and its masks, and write them to one HDF5 store."""

from pathlib import Path

import gradfaith.runtime.job
from gradfaith import registry
from gradfaith.data.pack import pack_images
from gradfaith.storage import parquet

job = snakemake
settings = job.params.settings

with gradfaith.runtime.job.running(job.log[0]):
    reader = registry.load("readers", settings["reader"])
    table = parquet.read_manifest_with_parts(job.input.manifest, job.input.splits)
    raw, options = Path(settings["raw"]) if settings["raw"] else None, reader.Options(**settings["options"])
    fit = {key: settings[key] for key in ("size", "fit", "channels", "harmonise")}
    pack_images(job.output[0], table, reader, raw, options, **fit, threads=job.threads)
