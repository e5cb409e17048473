"""Train one architecture with one seed, resume its training, or use its weights unchanged."""

from functools import partial
from pathlib import Path

import gradfaith.runtime.job

gradfaith.runtime.job.begin()

from gradfaith.attribution.bound_method import probe_methods
from gradfaith.config.compute import Compute
from gradfaith.config.job_settings import TrainSettings
from gradfaith.dag import job_work
from gradfaith.dag.plan import Plan
from gradfaith.models.training import checkpoints, train_job
from gradfaith.runtime import device
from gradfaith.storage import hdf5, parquet
from gradfaith.storage.origins import check_inputs
from gradfaith.storage.paths import PROJECT, StudyPaths

job = snakemake
compute, seed = Compute.of_config(job.config), int(job.wildcards.seed)

with gradfaith.runtime.job.running(job.log[0], job_work.recorder(job)), hdf5.ImageStore(job.input.images) as images:
    settings, _ = TrainSettings.of_params(job.params.settings), check_inputs(job.input)
    table = parquet.read_manifest_with_parts(job.input.manifest, job.input.splits)
    weights = Path(job.input.weights) if job.input.get("weights") else None
    identity = train_job.training_identity(settings, images, table, seed=seed, weights=weights)
    events = StudyPaths.tensorboard_events(job.output.weights) if compute.tensorboard else None
    machine = train_job.MachineSettings(compute.images, device.memory_limit(job.resources.mem_mb), events)
    methods = Plan.read(job.config, PROJECT).all_method_settings(job.wildcards.arch)  # they do not affect the weights
    state = StudyPaths.training_state(job.output.weights)
    with checkpoints.CheckpointKeeper(state, identity, every=compute.save_seconds) as keeper:
        trained = train_job.train_model(
            settings, images, table, probe=partial(probe_methods, settings=methods), seed=seed, weights=weights,
            device=device.device_for_job(compute, job.threads, job.resources), machine=machine, keeper=keeper,
        )  # fmt: skip
        card = train_job.model_card(trained, settings, images, job.wildcards, weights)
        train_job.save_training(job.output, trained, card, keeper)
