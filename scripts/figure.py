"""Draw one figure, as SVG, PNG and PDF."""

from contextlib import ExitStack

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.runtime.deferred_packages import hidden

with hidden("scipy.stats", "scipy.cluster"):  # 0.7 s; seaborn needs them only for plots that no figure draws
    import seaborn  # noqa: F401 - the figures use it

from gradfaith import registry
from gradfaith.config.result_settings import FigureSettings, StudyDescription
from gradfaith.dag import job_work
from gradfaith.reporting.figures import contract, theme
from gradfaith.reporting.row_words import reword_figure
from gradfaith.storage import json_file
from gradfaith.storage.origins import check_inputs
from gradfaith.vocabulary import TABLE

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)), ExitStack() as stack, theme.use_theme():
    settings = FigureSettings.of_params(job.params.settings)
    about = StudyDescription.of_params(job.params.about)
    check_inputs(job.input)
    inputs = contract.open_inputs(stack, dict(job.input.items()), about)
    plugin = registry.load("figures", settings.use)
    figure = plugin.draw(inputs, **settings.options)
    if about.of_table and TABLE not in plugin.FIGURE.needs:
        reword_figure(figure)
    if job.input.get("leakage_check"):
        theme.add_caution(figure, json_file.read(job.input.leakage_check)["caution"])
    theme.save(figure, job.output.svg, job.output.png, job.output.pdf)
