"""Read a dataset's raw folder into its manifest."""

from pathlib import Path

import gradfaith.job
from gradfaith import registry, tables
from gradfaith.data.manifest import build

job = snakemake
asked = job.params.settings

with gradfaith.job.running(job.log[0]):
    reader = registry.load("readers", asked["reader"])
    raw = Path(asked["raw"]) if asked["raw"] else None
    manifest = build(reader, raw, reader.Options(**asked["options"]), asked["classes"])
    tables.write(job.output[0], manifest, tables.MANIFEST)
