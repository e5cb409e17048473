"""Draw one figure, as SVG and as PNG."""

from contextlib import ExitStack

import gradfaith.job
from gradfaith import registry
from gradfaith.figures import gather, theme

job = snakemake
asked = job.params.settings

with gradfaith.job.running(job.log[0]), ExitStack() as stack, theme.applied():
    given = gather.given(stack, dict(job.input.items()), job.params.about)
    figure = registry.load("figures", asked["use"]).draw(given, **asked["options"])
    theme.save(figure, job.output.svg, job.output.png)
