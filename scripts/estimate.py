"""Scores and predictions become estimates, contrasts and classification tables with their intervals."""

from gradfaith import tables
from gradfaith.job import running
from gradfaith.stats.classification import classification
from gradfaith.stats.contrasts import contrasts
from gradfaith.stats.estimates import estimates
from gradfaith.stats.intervals import Rule
from gradfaith.stats.strata import lesion_size

job = snakemake
asked = job.params.settings

with running(job.log[0]):
    scores = tables.read(job.input.scores, tables.SCORES)
    manifest = tables.read(job.input.manifest, tables.MANIFEST)
    predictions = tables.read_models(job.input.predictions, tables.PREDICTIONS)
    scores["lesion_size"] = scores["image_id"].map(lesion_size(manifest, scores["image_id"]))
    rule = Rule(level=asked["level"], min_groups=asked["min_groups"])

    found = estimates(scores, by=("label", "lesion_size"), rule=rule)
    tables.write(job.output.estimates, found, tables.ESTIMATES)
    compared = contrasts(scores, asked["controls"], asked["better"], asked["primary"], rule)
    tables.write(job.output.contrasts, compared, tables.CONTRASTS)
    classified = classification(predictions, job.params.classes, rule=rule)
    tables.write(job.output.classification, classified, tables.CLASSIFICATION)
