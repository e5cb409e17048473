"""Read a dataset's raw folder into its manifest: one row per image with label, group and evidence."""

from pathlib import Path

import gradfaith.runtime.job
from gradfaith import registry
from gradfaith.data.manifest import build_manifest
from gradfaith.storage import parquet

job = snakemake
settings = job.params.settings

with gradfaith.runtime.job.running(job.log[0]):
    reader = registry.load("readers", settings["reader"])
    raw, options = Path(settings["raw"]) if settings["raw"] else None, reader.Options(**settings["options"])
    groups = (
        parquet.read(job.input.groups, parquet.GROUPS).set_index("image_id")["group"] if job.input.get("groups") else {}
    )
    manifest = build_manifest(
        reader,
        raw,
        options,
        settings["classes"],
        groups=dict(groups),
        max_bad=settings["max_bad_files"],
        threads=job.threads,
    )
    parquet.write(job.output[0], manifest, parquet.MANIFEST)
