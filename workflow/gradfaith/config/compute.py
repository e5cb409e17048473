"""The `compute` section of a study: how the machine is used. Nothing here changes a number beyond rounding."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from gradfaith.config.sections import Label, StrictModel
from gradfaith.vocabulary import Device


class Compute(StrictModel):
    """How the machine is used; nothing here changes a number beyond rounding."""

    device: Device = Field("auto", description="auto: cuda, else mps, else cpu")
    gpus: int = Field(
        0,
        ge=0,
        le=1,
        description="1: each training, explaining and scoring job asks for a GPU; none can use two",
    )
    threads: int = Field(1, ge=1, le=4_096, description="threads of every other job")
    data_threads: int = Field(2, ge=1, le=4_096, description="threads that read, fit and compare images")
    chunk: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto", description="images per pass; auto: 256 on a GPU, 32 elsewhere, halved whenever memory runs out"
    )
    keep_freed_memory: bool = Field(
        True,
        description="jobs that run a network keep the memory they have freed until they end (with glibc; elsewhere nothing "
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
        description="a training saves its state this often, and after every epoch, so that a killed one goes on",
    )
    tensorboard: bool = Field(
        False, description="write events for TensorBoard beside each model (needs the package tensorboard)"
    )
    mem_mb: int = Field(
        2000, ge=1000, le=100_000_000, description="memory of a job that loads a model, images or scores"
    )
    runtime: int = Field(60, ge=1, le=1_000_000, description="minutes that a training may take")
    short_runtime: int = Field(15, ge=1, le=1_000_000, description="minutes that any other job may take")
    resource_factors: dict[Label, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        description="architecture -> how many times that memory and those minutes its jobs ask for; each retry asks for as much again",
    )

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> "Compute":
        """Return the machine settings of a study's document, as a job receives it."""
        return cls.model_validate(config.get("compute") or {})
