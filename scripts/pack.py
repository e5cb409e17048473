"""Decode and fit every image and its masks once."""

from pathlib import Path

import gradfaith.runtime.job
from gradfaith import registry
from gradfaith.data.pack import pack_images
from gradfaith.storage import parquet

job = snakemake
asked = job.params.settings

with gradfaith.runtime.job.running(job.log[0]):
    reader = registry.load("readers", asked["reader"])
    table = parquet.read(job.input.manifest, parquet.MANIFEST).merge(
        parquet.read(job.input.splits, parquet.SPLITS), on="image_id"
    )
    raw, options = Path(asked["raw"]) if asked["raw"] else None, reader.Options(**asked["options"])
    fit = {key: asked[key] for key in ("size", "fit", "channels", "harmonise")}
    pack_images(job.output[0], table, reader, raw, options, **fit, threads=job.threads)
