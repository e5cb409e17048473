"""Draw one figure, as SVG and as PNG."""

import json
from contextlib import ExitStack
from pathlib import Path

import gradfaith.job
from gradfaith import registry
from gradfaith.figures import gather, theme

job = snakemake
asked = job.params.settings

with gradfaith.job.running(job.log[0]), ExitStack() as stack, theme.applied():
    given = gather.given(stack, dict(job.input.items()), job.params.about)
    figure = registry.load("figures", asked["use"]).draw(given, **asked["options"])
    if job.input.get("gate"):
        theme.caution(figure, json.loads(Path(job.input.gate).read_text())["caution"])
    theme.save(figure, job.output.svg, job.output.png)
