"""Write one table as Markdown, HTML, CSV and LaTeX."""

from contextlib import ExitStack

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith import registry
from gradfaith.config.result_settings import StudyDescription, TableSettings
from gradfaith.dag import job_work
from gradfaith.reporting.figures.contract import open_inputs
from gradfaith.reporting.row_words import in_rows
from gradfaith.reporting.tables import contract
from gradfaith.storage import json_file
from gradfaith.storage.atomic import write_text
from gradfaith.storage.origins import check_inputs
from gradfaith.vocabulary import TABLE

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)), ExitStack() as stack:
    settings = TableSettings.of_params(job.params.settings)
    about = StudyDescription.of_params(job.params.about)
    check_inputs(job.input)
    inputs = open_inputs(stack, dict(job.input.items()), about)
    plugin = registry.load("tables", settings.use)
    sheet = plugin.tabulate(inputs.tables, about)
    if about.of_table and plugin.TABLE.study_key != TABLE:
        sheet = contract.reword(sheet, in_rows, about.title)
    sheet = contract.add_caution(sheet, json_file.read(job.input.leakage_check)["caution"])
    write_text(job.output.md, contract.markdown(sheet))
    write_text(job.output.html, contract.html(sheet))
    write_text(job.output.csv, contract.csv(sheet))
    write_text(job.output.tex, contract.latex(sheet))
