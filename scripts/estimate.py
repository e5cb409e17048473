"""Scores and predictions become estimates, contrasts, ranks and classification tables with their intervals."""

import gradfaith.job
from gradfaith import tables
from gradfaith.stats.classification import classification
from gradfaith.stats.contrasts import comparable, contrasts
from gradfaith.stats.estimates import estimates
from gradfaith.stats.intervals import Rule
from gradfaith.stats.strata import lesion_size
from gradfaith.stats.winrates import winrates

job = snakemake
asked = job.params.settings

with gradfaith.job.running(job.log[0]):
    scores = tables.read(job.input.scores, tables.SCORES).query("part == 'test'").reset_index(drop=True)
    manifest = tables.read(job.input.manifest, tables.MANIFEST)
    predictions = tables.read_models(job.input.predictions, tables.PREDICTIONS)
    scores["lesion_size"] = scores["image_id"].map(lesion_size(manifest, scores["image_id"]))
    rule = Rule(level=asked["level"], min_groups=asked["min_groups"])

    found = estimates(scores, by=("label", "lesion_size"), rule=rule)
    tables.write(job.output.estimates, found, tables.ESTIMATES)
    rivals = comparable(scores)
    compared = contrasts(rivals, asked["controls"], asked["better"], asked["primary"], rule)
    tables.write(job.output.contrasts, compared, tables.CONTRASTS)
    who, only = asked["rank_controls"], asked["rank_only_correct"]
    ranked = winrates(rivals, asked["controls"], asked["better"], place=who, only_correct=only, rule=rule)
    tables.write(job.output.ranks, ranked, tables.RANKS)
    classified = classification(predictions, job.params.classes, rule=rule)
    tables.write(job.output.classification, classified, tables.CLASSIFICATION)
