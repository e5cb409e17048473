"""One cell: ask every method of the bundle for every image, and keep the maps."""

from pathlib import Path

import gradfaith.runtime.job
from gradfaith.attribution import bound_method, image_selection
from gradfaith.attribution import cell as cell_attribution
from gradfaith.attribution.cell import Cell, map_rows
from gradfaith.models import checkpoint, speed
from gradfaith.runtime import batching, device
from gradfaith.storage import hdf5, parquet

job = snakemake
asked = job.params.settings

with gradfaith.runtime.job.running(job.log[0]), hdf5.Images(job.input.images) as images:
    predictions = parquet.read(job.input.predictions, parquet.PREDICTIONS)
    chosen = image_selection.explained(predictions, **asked["explain"], seed=asked["seed"])
    rows = map_rows(chosen, job.params.classes)
    model = checkpoint.load(Path(job.input.weights), Path(job.input.card))
    model = speed.prepared(model.to(device.given(job.resources, job.threads)), asked["passes"])
    about = cell_attribution.provenance_stamp(
        job.wildcards, asked, job.params.code, images, Path(job.input.card), model
    )
    cell = Cell(
        model,
        images.pixels,
        rows,
        bound_method.uses_of(model, asked["methods"]),
        key=(asked["seed"], job.wildcards.arch, int(job.wildcards.seed)),
        copies=asked["copies"],
        most=batching.most(job.resources.chunk),
        organ=(lambda ids: images.mask(asked["organ"], ids)[0]) if asked["organ"] else None,
    )
    with hdf5.MapWriter(job.output[0], rows, about) as maps:
        for piece in cell.pieces():
            maps.put(piece.label, piece.info, piece.start, piece.maps, piece.seconds, piece.notes)
