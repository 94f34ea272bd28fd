"""Measure how much of the processors other programs use during a measurement."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psutil


class LoadMeter:
    """Average load by other programs since the meter was created.

    Args:
        processes: ids of the processes of this measurement, apart from the current process.
    """

    def __init__(self, processes: Sequence[int]):
        self._own = [psutil.Process(), *map(psutil.Process, processes)]
        self._start, self._before = time.perf_counter(), self._other_seconds()

    def _other_seconds(self) -> float:
        """Return the processor time of all other programs since the system started, in seconds."""
        everything = psutil.cpu_times()
        total = everything.user + everything.nice + everything.system
        return total - sum(times.user + times.system for times in (process.cpu_times() for process in self._own))

    def cores(self) -> float:
        """Return the number of cores that other programs used on average."""
        return max(0.0, (self._other_seconds() - self._before) / (time.perf_counter() - self._start))
