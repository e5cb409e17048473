"""Scores and predictions become estimates, contrasts, ranks and classification tables with their intervals."""

import gradfaith.runtime.job
from gradfaith.stats.classification import classification
from gradfaith.stats.contrasts import comparable, contrasts
from gradfaith.stats.estimates import estimates, lesion_size
from gradfaith.stats.intervals import Rule
from gradfaith.stats.winrates import winrates
from gradfaith.storage import parquet

job = snakemake
asked = job.params.settings

with gradfaith.runtime.job.running(job.log[0]):
    scores = parquet.read(job.input.scores, parquet.SCORES).query("part == 'test'").reset_index(drop=True)
    manifest = parquet.read(job.input.manifest, parquet.MANIFEST)
    predictions = parquet.read_models(job.input.predictions, parquet.PREDICTIONS)
    scores["lesion_size"] = scores["image_id"].map(lesion_size(manifest, scores["image_id"]))
    rule = Rule(level=asked["level"], min_groups=asked["min_groups"])

    found = estimates(scores, by=("label", "lesion_size"), rule=rule)
    parquet.write(job.output.estimates, found, parquet.ESTIMATES)
    rivals = comparable(scores)
    compared = contrasts(rivals, asked["controls"], asked["better"], asked["primary"], rule)
    parquet.write(job.output.contrasts, compared, parquet.CONTRASTS)
    who, only = asked["rank_controls"], asked["rank_only_correct"]
    ranked = winrates(rivals, asked["controls"], asked["better"], place=who, only_correct=only, rule=rule)
    parquet.write(job.output.ranks, ranked, parquet.RANKS)
    classified = classification(predictions, job.params.classes, rule=rule)
    parquet.write(job.output.classification, classified, parquet.CLASSIFICATION)
