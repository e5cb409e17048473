"""Measure how many slices of the phantom one core draws per second; every patient is new, with its own trees and nodules.

    OMP_NUM_THREADS=1 python benchmarks/phantom.py [size] [patients per class] [rounds]

Measures processor time, not wall time, and prints the best and the median round: on a shared machine another process on the
same core doubles both, so compare the best round.
"""

import statistics
import sys
import time

from gradfaith.data.readers import phantom


def round_(options: phantom.Options) -> float:
    """Return slices per second of processor time over a complete population."""
    records = list(phantom.index(None, options))
    start = time.process_time()
    for record in records:
        phantom.read(None, options, record, None)
    return len(records) / (time.process_time() - start)


def main(size: int = 224, patients: int = 8, rounds: int = 7) -> None:
    populations = [phantom.Options(size=size, patients_per_class=patients, seed=seed) for seed in range(rounds + 1)]
    rates = [round_(options) for options in populations][1:]  # the first round imports and fills the tables
    print(f"{size} px: best {max(rates):.0f}, median {statistics.median(rates):.0f} slices per second")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
