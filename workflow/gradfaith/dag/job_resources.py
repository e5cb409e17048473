"""What a job asks of a scheduler: memory and minutes, by the architecture it works on and by how often it was tried.

    asked = base * heavier[architecture] * attempt

`base` is the study's (`compute.mem_mb`, `runtime`, `short_runtime`), `heavier` says how much more an architecture needs
than the others. The second attempt asks for twice as much, the third for three times: a job killed for memory or time comes back
with more, and one killed by chance loses nothing but a place in the queue.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Ask = Callable[[Any, int], int]


@dataclass(frozen=True)
class Asks:
    """Makes the callables that rules give as resources."""

    heavier: Mapping[str, float]

    def __call__(self, base: int) -> Ask:
        def asked(wildcards: Any, attempt: int) -> int:
            factor = self.heavier.get(getattr(wildcards, "arch", ""), 1.0)
            return math.ceil(base * factor * attempt)

        return asked
