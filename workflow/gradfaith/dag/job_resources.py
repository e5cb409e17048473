"""Return the `resources` of every rule: memory and minutes by architecture and attempt, and a GPU if it is used.

    requested = base * resource_factors[architecture] * attempt

`base` is the study's (`compute.mem_mb`, `runtime`, `short_runtime`). A factor states how much more an architecture needs than
the others. The second attempt requests twice as much, the third three times as much. So a job that was killed for memory or
time receives more, and a job that was killed by chance only queues again.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gradfaith.config.compute import Compute

LIGHT_MB = 1000  # memory of a job that reads small tables only
Requested = Callable[[Any, int], int]  # Snakemake calls it with the job's wildcards and the attempt


@dataclass(frozen=True)
class JobResources:
    """Makes the mapping that a rule unpacks: `resources: **job_resources.gpu()`."""

    compute: Compute

    def light(self, minutes: int | None = None) -> dict[str, Any]:
        """Return the request of a job on small tables; `minutes` replaces the study's `short_runtime`."""
        return self._requested(LIGHT_MB, minutes or self.compute.short_runtime)

    def cpu(self) -> dict[str, Any]:
        """Return the request of a job without a GPU."""
        return self._requested(self.compute.mem_mb, self.compute.short_runtime)

    def gpu(self) -> dict[str, Any]:
        """Return the request of a job that runs a network."""
        return self.cpu() | {"gpu": self.compute.gpus}

    def training(self) -> dict[str, Any]:
        """Return the request of a training."""
        return self._requested(self.compute.mem_mb, self.compute.runtime) | {"gpu": self.compute.gpus}

    def _requested(self, mem_mb: int, minutes: int) -> dict[str, Any]:
        factors = self.compute.resource_factors
        return {"mem_mb": scaled(mem_mb, factors), "runtime": scaled(minutes, factors)}


def scaled(base: int, factors: Mapping[str, float]) -> Requested:
    """Return a callable that scales a base amount by the architecture's factor and by the attempt."""

    def requested(wildcards: Any, attempt: int) -> int:
        return math.ceil(base * factors.get(getattr(wildcards, "arch", ""), 1.0) * attempt)

    return requested
