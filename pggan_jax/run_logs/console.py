"""What a run tells: status line, progress bar, log.txt, the compile counter, the clock by phase.

It knows numbers and files, not networks. On hosts other than the first it stays silent and writes nothing.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import psutil
from tqdm import tqdm

from pggan_jax.errors import visible

Item = TypeVar("Item")
_PHASES = ("wait", "compile", "grow", "snapshot", "evaluate", "save")
_WAIT_SHARE_SHOWN = 0.01
VOLATILE_FIELDS = frozenset(
    {"images_per_second", "seconds_per_tick", "wait_share", "compiles", "memory_bytes", "eta_seconds", "growth_gap_seconds"}
    | {f"{phase}_seconds" for phase in _PHASES}
)
"""Fields of stats.jsonl that depend on the machine and its clock; all others are the same in every run of one configuration."""
_COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"
_CACHE_HIT_EVENT = "/jax/compilation_cache/cache_hits"


class CompileCounter:
    """Counts train steps that XLA compiles; a fade-in must add none, and what the persistent cache has is not compiled.

    Only what a thread compiles while it watches counts: gathering data has small programs of its own.
    """

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()
        self._this_thread = threading.local()
        jax.monitoring.register_event_listener(self._on_event)
        jax.monitoring.register_event_duration_secs_listener(self._on_duration)

    def _on_event(self, event: str, **_: Any) -> None:
        if event == _CACHE_HIT_EVENT:
            self._this_thread.was_cached = True

    def _on_duration(self, event: str, duration_secs: float, **_: Any) -> None:
        del duration_secs
        # This comes after a hit, too, in the same thread.
        if event == _COMPILE_EVENT:
            was_cached, self._this_thread.was_cached = getattr(self._this_thread, "was_cached", False), False
            if getattr(self._this_thread, "is_watching", False) and not was_cached:
                with self._lock:
                    self.count += 1

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Count compilations of this thread inside the `with` block."""
        self._this_thread.is_watching = True
        try:
            yield
        finally:
            self._this_thread.is_watching = False

    def close(self) -> None:
        """Stop listening."""
        jax.monitoring.unregister_event_listener(self._on_event)
        jax.monitoring.unregister_event_duration_listener(self._on_duration)


@dataclass(frozen=True)
class Lap:
    """Where the time of a tick went, in seconds.

    Attributes:
        wall: all of it.
        phases: "wait" (for data), "compile" (first calls, with waiting for what the background compiles), "grow", "snapshot",
            "evaluate", "save".
    """

    wall: float
    phases: Mapping[str, float]

    @property
    def training(self) -> float:
        """What is left for steps: all but compiling, growing, drawing and saving. Never quite 0, so that it can divide."""
        apart = sum(self.phases.get(phase, 0.0) for phase in _PHASES if phase != "wait")
        return max(self.wall - apart, 1e-9)

    @property
    def wait_share(self) -> float:
        """Share of the training time that was spent waiting for data, 0..1."""
        return min(1.0, self.phases.get("wait", 0.0) / self.training)

    def record(self) -> dict[str, float]:
        """As fields of stats.jsonl."""
        seconds = {f"{phase}_seconds": self.phases.get(phase, 0.0) for phase in _PHASES}
        return {"seconds_per_tick": self.wall, **seconds, "wait_share": self.wait_share}


class Clock:
    """Seconds by phase since the last lap."""

    def __init__(self) -> None:
        self._phases: dict[str, float] = {}
        self._lap_start = time.perf_counter()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time spent in the `with` block to a phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def iterate(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """The items, adding the time spent waiting for each to a phase."""
        iterator = iter(items)
        while True:
            with self.phase(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def add(self, name: str, seconds: float) -> None:
        """Add time to a phase."""
        self._phases[name] = self._phases.get(name, 0.0) + seconds

    def lap(self) -> Lap:
        """The time since the last lap; starts the next one."""
        now = time.perf_counter()
        lap = Lap(now - self._lap_start, self._phases)
        self._lap_start, self._phases = now, {}
        return lap


class Log:
    """Lines to the terminal, above the progress bar, and to log.txt.

    Args:
        path: log.txt, or None for a host that stays silent.
    """

    def __init__(self, path: Path | None):
        self._file = path.open("a", encoding="utf-8") if path else None

    def __call__(self, line: str) -> None:
        if self._file:
            # Neither a full disk nor a reader that has gone must end a run for the sake of what it tells.
            line = visible(line)
            # ValueError and AttributeError: a stream that was closed, and none at all.
            with suppress(OSError, ValueError, AttributeError):
                tqdm.write(line, file=sys.stdout)
                sys.stdout.flush()
            with suppress(OSError):
                self._file.write(line + "\n")
                self._file.flush()

    def close(self) -> None:
        """Close log.txt."""
        if self._file:
            with suppress(OSError):
                self._file.close()


class ProgressBar:
    """A bar over the images of the whole run, with an ETA that the caller computes from the resolutions still to come."""

    def __init__(self, *, total_images: int, images_seen: int, visible: bool):
        self._bar = tqdm(
            total=total_images,
            initial=images_seen,
            unit="img",
            unit_scale=True,
            dynamic_ncols=True,
            disable=None if visible and sys.stderr else True,
            bar_format="{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} images{postfix}",
        )

    def update(self, images: int, stage: str, eta_seconds: float) -> None:
        """Move on by so many images."""
        # A terminal that has gone must not end the run.
        with suppress(OSError):
            self._bar.set_postfix_str(f"{stage}, {format_seconds(eta_seconds)} left", refresh=False)
            self._bar.update(images)

    def close(self) -> None:
        """Leave the bar where it is."""
        with suppress(OSError):
            self._bar.close()


class EtaEstimator:
    """Remaining time from measured speed per resolution; resolutions not reached yet are scaled by their arithmetic.

    Args:
        cost_per_image: relative arithmetic per image by resolution.
    """

    def __init__(self, cost_per_image: Mapping[int, float]):
        self._cost = dict(cost_per_image)
        self._seconds_per_image: dict[int, float] = {}

    def observe(self, images: Mapping[int, int], seconds: float) -> None:
        """Note how long some images took together, by resolution; newer notes weigh more."""
        cost = sum(count * self._cost[resolution] for resolution, count in images.items())
        for resolution in images:
            now = seconds * self._cost[resolution] / cost
            before = self._seconds_per_image.get(resolution, now)
            self._seconds_per_image[resolution] = 0.5 * (now + before)

    def seconds(self, remaining: Mapping[int, int]) -> float:
        """Seconds for the remaining images by resolution; not-a-number before anything was observed."""
        if not self._seconds_per_image:
            return math.nan
        return sum(images * self._estimate(resolution) for resolution, images in remaining.items())

    def _estimate(self, resolution: int) -> float:
        if resolution in self._seconds_per_image:
            return self._seconds_per_image[resolution]
        nearest = min(self._seconds_per_image, key=lambda seen: abs(math.log2(seen / resolution)))
        return self._seconds_per_image[nearest] * self._cost[resolution] / self._cost[nearest]


def format_seconds(seconds: float) -> str:
    """Such as '12.3 s', '4m 05s', '3h 07m', '2d 4h'; '?' for not-a-number."""
    if math.isnan(seconds):
        return "?"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes}m {int(seconds % 60):02d}s"
    hours = minutes // 60
    return f"{hours}h {minutes % 60:02d}m" if hours < 48 else f"{hours // 24}d {hours % 24}h"


def process_memory_bytes() -> int:
    """Memory this process holds now."""
    return psutil.Process().memory_info().rss


def status_line(record: Mapping[str, Any]) -> str:
    """One tick in the tradition of the field, from its stats.jsonl record. Waiting for data is told where it costs speed."""
    wait = f"waiting {record['wait_share']:.0%}  " if record["wait_share"] > _WAIT_SHARE_SHOWN else ""
    measured = "".join(
        f"{name.removeprefix('metric_')} {value:.4g}  " for name, value in record.items() if name.startswith("metric_")
    )
    return (
        f"tick {record['tick']:<4d} kimg {record['kimg']:<8.1f} res {record['resolution']:<4d} alpha {record['alpha']:.2f}  "
        f"loss G {record['loss_g']:<7.3f} D {record['loss_d']:<7.3f} score real {record['real_score']:<7.3f} "
        f"fake {record['fake_score']:<7.3f} gp {record['gradient_penalty']:<7.4f} {measured}"
        f"{record['images_per_second']:.0f} img/s  {format_seconds(record['seconds_per_tick'])}/tick  {wait}"
        f"mem {record['memory_bytes'] / 2**30:.1f} GiB  skipped {record['skipped_steps']}  "
        f"compiles {record['compiles']}  left {format_seconds(record['eta_seconds'])}"
    )
