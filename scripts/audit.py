"""Audit a dataset and its split: duplicates, leakage, shortcuts."""

import json
from pathlib import Path

import gradfaith.runtime.job
from gradfaith import registry
from gradfaith.data.audit import report
from gradfaith.storage import hdf5, parquet
from gradfaith.storage.atomic import write_text

job = snakemake
settings = job.params.settings

with gradfaith.runtime.job.running(job.log[0]), hdf5.ImageStore(job.input.images) as images:
    raw = Path(settings["raw"]) if settings["raw"] else None
    groups = json.loads(Path(job.input.groups).read_text()) if job.input.get("groups") else None
    manifest = parquet.read(job.input.manifest, parquet.MANIFEST)
    splits = parquet.read(job.input.splits, parquet.SPLITS)
    trained = None
    if job.input.get("trained_manifest"):
        trained = parquet.read(job.input.trained_manifest, parquet.MANIFEST)
        trained = trained.merge(parquet.read(job.input.trained_splits, parquet.SPLITS), on="image_id")
    reader = registry.load("readers", settings["reader"])
    audit = report.audit_dataset(
        manifest, splits, images, reader, raw, settings, groups, trained=trained, threads=job.threads
    )
    write_text(job.output[0], json.dumps(audit, indent=2) + "\n")
