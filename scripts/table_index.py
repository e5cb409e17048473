"""Read a table: its columns, its rows as numbers, its split, and what a reader must know before the numbers."""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith import registry
from gradfaith.config.tabular import TableIndexSettings
from gradfaith.dag import table_work
from gradfaith.data.split import split, split_report
from gradfaith.data.tabular.columns import audit_table, encode_table, make_manifest, table_caution
from gradfaith.storage import json_file, parquet
from gradfaith.vocabulary import BINARY, PARTS, QUARTERS

job = snakemake

with gradfaith.runtime.job.running(job.log[0], table_work.recorder(job)):
    settings = TableIndexSettings.of_params(job.params.settings)
    source = registry.load("table_sources", settings.source).read(**settings.options)
    table = encode_table(source, settings.task, settings.positive, settings.keep)
    manifest = make_manifest(table, source)
    shares = {part: getattr(settings.split, part) for part in PARTS}
    classes = BINARY if settings.task == "classification" else QUARTERS
    splits = split(manifest, shares, classes=classes, tolerance=settings.split.tolerance, seed=settings.seed)
    parquet.write(job.output.manifest, manifest, parquet.MANIFEST)
    parquet.write(job.output.table, table.rows, parquet.TABLE)
    parquet.write(job.output.splits, splits, parquet.SPLITS)
    json_file.write(job.output.split_report, split_report(splits, manifest, shares))
    audit = {**table.content(), **audit_table(table.content(), manifest, splits), "files": dict(source.files)}
    json_file.write(job.output.audit, audit)
    json_file.write(job.output.leakage_check, table_caution(audit))
