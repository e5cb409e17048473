"""The sections of a study that change no number beyond rounding: how the machine is used, and which outputs are kept."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from gradfaith.config.sections import Label, StrictModel
from gradfaith.vocabulary import Device


class Compute(StrictModel):
    """How the machine is used; nothing here changes a number beyond rounding."""

    device: Device = Field("auto", description="device of the jobs; auto: cuda, else mps, else cpu")
    gpus: int = Field(
        0,
        ge=0,
        le=1,
        description="1: each job that trains, explains or scores with a network requests one GPU; no job can use two",
    )
    threads: int = Field(1, ge=1, le=4_096, description="threads of every job except trainings")
    data_threads: int = Field(2, ge=1, le=4_096, description="threads that read, resize and compare images")
    chunk: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto", description="images per pass; auto: 256 on a GPU, 32 elsewhere, halved if memory runs out"
    )
    keep_freed_memory: bool = Field(
        True,
        description="jobs that run a network keep freed memory until they end (with glibc; elsewhere nothing "
        "changes): passes are faster, and numbers are the same",
    )
    images: Literal["auto", "device", "stream"] = Field(
        "auto",
        description="where a training keeps its images: all on the device, or read batch by batch; auto: on the device if they "
        "take at most half of what is free there. The weights are the same",
    )
    save_seconds: int = Field(
        120,
        ge=1,
        le=1_000_000,
        description="seconds between two checkpoints of a training, in addition to those after every epoch; it resumes from the last one",
    )
    tensorboard: bool = Field(
        False, description="write events for TensorBoard next to each model (needs the package tensorboard)"
    )
    mem_mb: int = Field(
        2000, ge=1000, le=100_000_000, description="memory in MB of a job that loads a model, images or scores"
    )
    runtime: int = Field(60, ge=1, le=1_000_000, description="time limit of a training, in minutes")
    short_runtime: int = Field(15, ge=1, le=1_000_000, description="time limit of any other job, in minutes")
    resource_factors: dict[Label, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        description="architecture -> factor for the memory and minutes of its jobs; each retry requests that amount once more",
    )

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> "Compute":
        """Return the machine settings of a study's document, as a job receives it."""
        return cls.model_validate(config.get("compute") or {})


class Keep(StrictModel):
    """What stays when the study is done; what does not must be computed again before a figure that shows it can change."""

    maps: bool = Field(True, description="keep the map stores, some kilobytes per image")
