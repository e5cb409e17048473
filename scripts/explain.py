"""One cell: ask every method of the bundle for every image, and keep the maps."""

from pathlib import Path

import gradfaith.job
from gradfaith import choose, device, explain, stamp, stores, tables
from gradfaith.models import checkpoint

job = snakemake
asked = job.params.settings

with gradfaith.job.running(job.log[0]), stores.Images(job.input.images) as images:
    predictions = tables.read(job.input.predictions, tables.PREDICTIONS)
    chosen = choose.explained(predictions, **asked["explain"], seed=asked["seed"])
    rows = explain.rows(chosen, job.params.classes)
    model = checkpoint.load(Path(job.input.weights), Path(job.input.card))
    model = model.to(device.choose(job.resources.device, job.threads))
    about = stamp.cell(job.wildcards, asked, job.params.code, images, Path(job.input.card), model)
    key = (asked["seed"], job.wildcards.arch, int(job.wildcards.seed))
    options = {"key": key, "copies": asked["copies"], "chunk": job.resources.chunk}
    with stores.MapWriter(job.output[0], rows, about) as maps:
        for piece in explain.explain(model, images.pixels, rows, asked["methods"], **options):
            maps.put(piece.label, piece.info, piece.start, piece.maps, piece.seconds)
