"""Audit a dataset and its split."""

import json
from pathlib import Path

import gradfaith.job
from gradfaith import registry, stores, tables
from gradfaith.atomic import write_text
from gradfaith.data import audited

job = snakemake
asked = job.params.settings

with gradfaith.job.running(job.log[0]), stores.Images(job.input.images) as images:
    raw = Path(asked["raw"]) if asked["raw"] else None
    groups = json.loads(Path(job.input.groups).read_text()) if job.input.get("groups") else None
    manifest, splits = tables.read(job.input.manifest, tables.MANIFEST), tables.read(job.input.splits, tables.SPLITS)
    trained = None
    if job.input.get("trained_manifest"):
        trained = tables.read(job.input.trained_manifest, tables.MANIFEST)
        trained = trained.merge(tables.read(job.input.trained_splits, tables.SPLITS), on="image_id")
    reader = registry.load("readers", asked["reader"])
    found = audited.run(manifest, splits, images, reader, raw, asked, groups, trained=trained, threads=job.threads)
    write_text(job.output[0], json.dumps(found, indent=2) + "\n")
