"""One thing that the doctor looked at."""

from dataclasses import dataclass
from typing import Literal

State = Literal["well", "doubtful", "broken"]


@dataclass(frozen=True)
class Finding:
    """Broken is what stops a run or spoils it; doubtful is what may be meant."""

    what: str
    state: State
    found: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.state:<8}  {self.what}: {self.found}" + (f"\n          {self.mend}" if self.mend else "")
