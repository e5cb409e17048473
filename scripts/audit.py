"""Audit a dataset and its split: duplicates, leakage, shortcuts."""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.config.job_settings import AuditSettings
from gradfaith.dag import job_work
from gradfaith.dag.plan import Plan
from gradfaith.data.audit import report
from gradfaith.data.raw_files import open_raw
from gradfaith.storage import hdf5, json_file, parquet
from gradfaith.storage.origins import check_inputs
from gradfaith.storage.paths import PROJECT

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)), hdf5.ImageStore(job.input.images) as images:
    settings = AuditSettings.of_params(job.params.settings)
    check_inputs(job.input)
    raw = open_raw(settings, Plan.read(job.config, PROJECT).dataset.raw)
    groups = json_file.read(job.input.groups) if job.input.get("groups") else None
    manifest = parquet.read(job.input.manifest, parquet.MANIFEST)
    splits = parquet.read(job.input.splits, parquet.SPLITS)
    trained = None
    if job.input.get("trained_manifest"):
        trained = parquet.read(job.input.trained_manifest, parquet.MANIFEST)
        trained = trained.merge(parquet.read(job.input.trained_splits, parquet.SPLITS), on="image_id")
    audit = report.audit_dataset(
        manifest, splits, images, raw.reader, raw.folder, settings, groups, trained=trained, threads=job.threads
    )
    json_file.write(job.output[0], audit)
