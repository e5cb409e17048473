"""Draw one figure, as SVG and as PNG."""

import json
from contextlib import ExitStack
from pathlib import Path

import gradfaith.runtime.job
from gradfaith import registry
from gradfaith.reporting.figures import contract, theme

job = snakemake
asked = job.params.settings

with gradfaith.runtime.job.running(job.log[0]), ExitStack() as stack, theme.applied():
    given = contract.given(stack, dict(job.input.items()), job.params.about)
    figure = registry.load("figures", asked["use"]).draw(given, **asked["options"])
    if job.input.get("gate"):
        theme.caution(figure, json.loads(Path(job.input.gate).read_text())["caution"])
    theme.save(figure, job.output.svg, job.output.png)
