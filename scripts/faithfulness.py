"""One cell: what the model, or a method asked again, says of changed images."""

from importlib import import_module
from pathlib import Path

import gradfaith.runtime.job
from gradfaith.models import checkpoint
from gradfaith.runtime import batching, device
from gradfaith.scoring import faithfulness, score_rows
from gradfaith.storage import hdf5, parquet

job = snakemake
asked = job.params.settings

with (
    gradfaith.runtime.job.running(job.log[0]),
    hdf5.Images(job.input.images) as images,
    hdf5.Maps(job.input.maps) as maps,
):
    score_rows.made_from(maps, images, checkpoint.read_card(Path(job.input.card))["weights_sha256"])
    predictions = parquet.read(job.input.predictions, parquet.PREDICTIONS)
    model = checkpoint.load(Path(job.input.weights), Path(job.input.card))
    model = model.to(device.given(job.resources, job.threads))
    metrics, imputers = (
        score_rows.chosen("faithfulness", asked["metrics"]),
        score_rows.chosen("imputers", asked["imputers"]),
    )
    cell = {"arch": job.wildcards.arch, "seed": int(job.wildcards.seed)}
    most = batching.most(job.resources.chunk)
    explain = None
    if "methods" in asked:  # loaded by name, so that only batteries that explain again stand on its code
        again = import_module("gradfaith.attribution.rerun")
        explain = again.explainer(model, images, maps, metrics, asked, cell, most=most)
    found, curves = faithfulness.scores(
        model, images, maps, predictions, metrics, imputers, cell, asked["seed"], chunk=most, explain=explain
    )
    parquet.write(job.output.scores, found, parquet.SCORES)
    parquet.write(job.output.curves, curves, parquet.CURVES)
