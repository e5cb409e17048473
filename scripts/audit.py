"""Audit a dataset and its split."""

import json
from pathlib import Path

import gradfaith.runtime.job
from gradfaith import registry
from gradfaith.data.audit import report
from gradfaith.storage import hdf5, parquet
from gradfaith.storage.atomic import write_text

job = snakemake
asked = job.params.settings

with gradfaith.runtime.job.running(job.log[0]), hdf5.Images(job.input.images) as images:
    raw = Path(asked["raw"]) if asked["raw"] else None
    groups = json.loads(Path(job.input.groups).read_text()) if job.input.get("groups") else None
    manifest, splits = (
        parquet.read(job.input.manifest, parquet.MANIFEST),
        parquet.read(job.input.splits, parquet.SPLITS),
    )
    trained = None
    if job.input.get("trained_manifest"):
        trained = parquet.read(job.input.trained_manifest, parquet.MANIFEST)
        trained = trained.merge(parquet.read(job.input.trained_splits, parquet.SPLITS), on="image_id")
    reader = registry.load("readers", asked["reader"])
    found = report.run(manifest, splits, images, reader, raw, asked, groups, trained=trained, threads=job.threads)
    write_text(job.output[0], json.dumps(found, indent=2) + "\n")
