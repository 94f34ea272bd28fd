"""Whether a measurement was alone on the machine: what other programs took of the processors meanwhile."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psutil


class Neighbours:
    """Counts from its creation on; `processes` are those of this measurement besides this one, by their ids."""

    def __init__(self, processes: Sequence[int]):
        self._own = [psutil.Process(), *map(psutil.Process, processes)]
        self._start = time.perf_counter(), self._seconds_of_others()

    def _seconds_of_others(self) -> float:
        everything = psutil.cpu_times()
        total = everything.user + everything.nice + everything.system
        return total - sum(times.user + times.system for times in (process.cpu_times() for process in self._own))

    def cores(self) -> float:
        """Cores that others kept busy, on average."""
        start, before = self._start
        return max(0.0, (self._seconds_of_others() - before) / (time.perf_counter() - start))
