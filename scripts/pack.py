"""Decode and fit every image and its masks once."""

from pathlib import Path

import gradfaith.job
from gradfaith import registry, tables
from gradfaith.data.pack import pack

job = snakemake
asked = job.params.settings

with gradfaith.job.running(job.log[0]):
    reader = registry.load("readers", asked["reader"])
    table = tables.read(job.input.manifest, tables.MANIFEST).merge(
        tables.read(job.input.splits, tables.SPLITS), on="image_id"
    )
    raw, options = Path(asked["raw"]) if asked["raw"] else None, reader.Options(**asked["options"])
    fit = {key: asked[key] for key in ("size", "fit", "channels", "harmonise")}
    pack(job.output[0], table, reader, raw, options, **fit, threads=job.threads)
