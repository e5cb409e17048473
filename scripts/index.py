"""Read a dataset's raw folder into its manifest."""

from pathlib import Path

from gradfaith import registry, tables
from gradfaith.data.manifest import build
from gradfaith.job import running

job = snakemake
asked = job.params.settings

with running(job.log[0]):
    reader = registry.load("readers", asked["reader"])
    raw = Path(asked["raw"]) if asked["raw"] else None
    manifest = build(reader, raw, reader.Options(**asked["options"]), asked["classes"])
    tables.write(job.output[0], manifest, tables.MANIFEST)
