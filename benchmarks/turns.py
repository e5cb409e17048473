"""Run competitors in turns in one process, so that other load on the machine affects all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Work = Callable[[], object]


@dataclass(frozen=True)
class Took:
    """Medians over the rounds, in seconds: wall time, and computing time, which is more reliable on a shared machine."""

    clock: Mapping[str, list[float]]
    computing: Mapping[str, list[float]]

    def seconds(self, name: str) -> float:
        return statistics.median(self.clock[name])

    def ratio(self, name: str, *over: str) -> tuple[float, float]:
        """Return the median ratio of wall time and of computing time; `over` may be several, which are summed."""
        return _ratio(self.clock, name, over), _ratio(self.computing, name, over)


def _ratio(took: Mapping[str, list[float]], name: str, over: tuple[str, ...]) -> float:
    below = [sum(round_) for round_ in zip(*(took[other] for other in over), strict=True)]
    return statistics.median(mine / other for mine, other in zip(took[name], below, strict=True))


def take(turns: Mapping[str, Work], rounds: int) -> Took:
    """Run every competitor once as warm-up, then all of them in each round, in rotating order."""
    names = list(turns)
    clock: dict[str, list[float]] = {name: [] for name in names}
    computing: dict[str, list[float]] = {name: [] for name in names}
    for work in turns.values():
        work()
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            started, computed = time.perf_counter(), time.process_time()
            turns[name]()
            clock[name].append(time.perf_counter() - started)
            computing[name].append(time.process_time() - computed)
    return Took(clock, computing)


def line(
    what: str, found: tuple[float, float], goal: float, *, at_least: bool = False, computing: bool = False
) -> None:
    """Print one ratio with its goal, and whether wall time or computing time meets it."""
    judged = found[computing]
    met = judged >= goal if at_least else judged <= goal
    sign = ">=" if at_least else "<="
    print(f"{what:64} {found[0]:8.3f} {found[1]:10.3f}   {sign} {goal:g} {'met' if met else 'missed'}", flush=True)
