"""Stop the study before any training if the audit finds that its split leaks."""

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.config.job_settings import LeakageCheckSettings
from gradfaith.dag import job_work
from gradfaith.data.audit.leakage_check import check_leakage
from gradfaith.storage import json_file

job = snakemake

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)):
    settings = LeakageCheckSettings.of_params(job.params.settings)
    result = check_leakage(json_file.read(job.input.audit), settings)
    json_file.write(job.output[0], result)
