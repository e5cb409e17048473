"""A warning: SIGTERM, SIGUSR1, SIGINT or SIGHUP asks a training to save once more and to end.

Only a flag is set when the signal comes; the loop looks at it between two batches, where its state is whole. SIGTERM is
what `scancel`, a time limit and a preemption send. For a warning some time before a limit ask `sbatch --signal` for SIGTERM
too: the Snakemake between the scheduler and the trainer waits for its job then, and dies of SIGUSR1 at once. That one is
for whoever sends it to the trainer itself. SIGINT is Ctrl-C, and after any warning it ends the job at once; SIGHUP comes when
a terminal is closed or a connection lost. One that is ignored (`nohup`, a job in the background) stays so.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

WARNINGS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)


class Warned:
    """The signal that came, if one did."""

    name = ""

    def hear(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.name:
            raise KeyboardInterrupt
        self.name = self.name or signal.Signals(number).name


@contextmanager
def listening(asked: bool) -> Iterator[Warned]:
    """Hear the warnings while the block lasts, if there is a state to keep; afterwards they do again what they did."""
    warned = Warned()
    heard = [number for number in WARNINGS if asked and signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, warned.hear) for number in heard}
    try:
        yield warned
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
