"""Read a dataset's raw folder into its manifest: one row per image with label, group and evidence."""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.config.job_settings import IndexSettings
from gradfaith.dag import job_work
from gradfaith.dag.plan import Plan
from gradfaith.data.manifest import build_manifest
from gradfaith.data.raw_files import open_raw, read_listing
from gradfaith.storage import parquet
from gradfaith.storage.origins import check_inputs
from gradfaith.storage.paths import PROJECT

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)):
    settings = IndexSettings.of_params(job.params.settings)
    origins = check_inputs(job.input)
    raw = open_raw(settings, Plan.read(job.config, PROJECT).dataset.raw)
    groups = (
        parquet.read(job.input.groups, parquet.GROUPS).set_index("image_id")["group"] if job.input.get("groups") else {}
    )
    manifest = build_manifest(
        raw.reader,
        raw.folder,
        raw.options,
        settings.classes,
        groups=dict(groups),
        listed=read_listing(job.input.listing) if job.input.get("listing") else None,
        max_bad=settings.max_bad_files,
        threads=job.threads,
    )
    parquet.write(job.output[0], manifest, parquet.MANIFEST, origins)
