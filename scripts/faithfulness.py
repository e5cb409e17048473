"""One cell: what the model, or a method asked again, says of changed images."""

from importlib import import_module
from pathlib import Path

import gradfaith.job
from gradfaith import device, faithfulness, rows, stores, tables
from gradfaith.models import checkpoint

job = snakemake
asked = job.params.settings

with gradfaith.job.running(job.log[0]), stores.Images(job.input.images) as images, stores.Maps(job.input.maps) as maps:
    rows.made_from(maps, images, checkpoint.read_card(Path(job.input.card))["weights_sha256"])
    predictions = tables.read(job.input.predictions, tables.PREDICTIONS)
    model = checkpoint.load(Path(job.input.weights), Path(job.input.card))
    model = model.to(device.choose(job.resources.device, job.threads))
    metrics, imputers = rows.chosen("faithfulness", asked["metrics"]), rows.chosen("imputers", asked["imputers"])
    cell = {"arch": job.wildcards.arch, "seed": int(job.wildcards.seed)}
    most = device.most(job.resources.chunk)
    explain = None
    if "methods" in asked:  # loaded by name, so that only batteries that explain again stand on its code
        again = import_module("gradfaith.again")
        explain = again.explainer(model, images, maps, metrics, asked, cell, most=most)
    found, curves = faithfulness.scores(
        model, images, maps, predictions, metrics, imputers, cell, asked["seed"], chunk=most, explain=explain
    )
    tables.write(job.output.scores, found, tables.SCORES)
    tables.write(job.output.curves, curves, tables.CURVES)
