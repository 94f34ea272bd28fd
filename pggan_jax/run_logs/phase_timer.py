"""Where the time of a tick goes: seconds by phase of the training loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from pggan_jax.stats_fields import PHASES

Item = TypeVar("Item")


@dataclass(frozen=True)
class TickTime:
    """Where the time of one tick went, in seconds.

    Attributes:
        total: wall-clock time of the tick.
        phases: by phase: "wait" (for data), "compile" (first steps of a resolution, and waiting for compilation in the
            background), "grow", "snapshot" (sample grids), "evaluate", "save".
    """

    total: float
    phases: Mapping[str, float]

    @property
    def training(self) -> float:
        """Seconds of training: the total without all phases but "wait"; at least 1e-9."""
        apart = sum(self.phases.get(phase, 0.0) for phase in PHASES if phase != "wait")
        return max(self.total - apart, 1e-9)

    @property
    def wait_share(self) -> float:
        """Share of the training time that was spent waiting for data, 0..1."""
        return min(1.0, self.phases.get("wait", 0.0) / self.training)

    def record(self) -> dict[str, float]:
        """Return the fields of stats.jsonl."""
        seconds = {f"{phase}_seconds": self.phases.get(phase, 0.0) for phase in PHASES}
        return {"seconds_per_tick": self.total, **seconds, "wait_share": self.wait_share}


class PhaseTimer:
    """Add up seconds by phase until the tick ends, and seconds of training over the whole run.

    Args:
        clock: gives seconds since any point.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._phases: dict[str, float] = {}
        self._tick_start, self._trained_before = clock(), 0.0

    def begin_at(self, training_seconds: float) -> None:
        """Start the first tick of a run that has trained so many seconds; earlier time is dropped."""
        self._tick_start, self._phases, self._trained_before = self._clock(), {}, training_seconds

    @property
    def training_seconds(self) -> float:
        """Seconds of training since the run began; inside a phase, the time in it counts too."""
        return self._trained_before + self._tick_so_far().training

    def _tick_so_far(self) -> TickTime:
        return TickTime(self._clock() - self._tick_start, self._phases)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time spent in the `with` block to a phase."""
        start = self._clock()
        try:
            yield
        finally:
            self._phases[name] = self._phases.get(name, 0.0) + self._clock() - start

    def iterate(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, adding the time spent waiting for each to a phase."""
        iterator = iter(items)
        while True:
            with self.phase(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def end_tick(self) -> TickTime:
        """Return the time since the last call, and start again from zero."""
        tick = self._tick_so_far()
        self._tick_start, self._phases = self._tick_start + tick.total, {}
        self._trained_before += tick.training
        return tick
