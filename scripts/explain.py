"""One cell: ask every method of the bundle for every image, and keep the maps."""

from pathlib import Path

import gradfaith.job
from gradfaith import choose, device, explain, stamp, stores, tables, uses
from gradfaith.models import checkpoint, speed

job = snakemake
asked = job.params.settings

with gradfaith.job.running(job.log[0]), stores.Images(job.input.images) as images:
    predictions = tables.read(job.input.predictions, tables.PREDICTIONS)
    chosen = choose.explained(predictions, **asked["explain"], seed=asked["seed"])
    rows = explain.rows(chosen, job.params.classes)
    model = checkpoint.load(Path(job.input.weights), Path(job.input.card))
    model = speed.prepared(model.to(device.given(job.resources, job.threads)), asked["passes"])
    about = stamp.cell(job.wildcards, asked, job.params.code, images, Path(job.input.card), model)
    cell = explain.Cell(
        model,
        images.pixels,
        rows,
        uses.uses_of(model, asked["methods"]),
        key=(asked["seed"], job.wildcards.arch, int(job.wildcards.seed)),
        copies=asked["copies"],
        most=device.most(job.resources.chunk),
        organ=(lambda ids: images.mask(asked["organ"], ids)[0]) if asked["organ"] else None,
    )
    with stores.MapWriter(job.output[0], rows, about) as maps:
        for piece in cell.pieces():
            maps.put(piece.label, piece.info, piece.start, piece.maps, piece.seconds, piece.notes)
