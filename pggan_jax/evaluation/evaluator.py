"""From a data set and a set of images to numbers: one pass over each feeds all metrics; each number comes with its floor.

The floor of a metric is its value for reals against other reals, which no generator can be expected to beat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from pggan_jax.errors import UserError
from pggan_jax.evaluation.image_sets import ImageSet, RealPool
from pggan_jax.evaluation.metrics import METRICS, Collector, Measured, Metric, Tools

BATCH_PIXELS = 2**21
"""Pixels read at once."""


@dataclass(frozen=True)
class Result:
    """One metric of one set of images.

    Attributes:
        metric: its name in `METRICS`.
        label: the name with the number of images, where that is not the usual one: numbers of different counts do not compare.
        measured: values and their uncertainty.
        floor: the same for reals against other reals; None where that means nothing.
        real_count, fake_count, floor_count: images on each side.
        details: what else the numbers depend on.
    """

    metric: str
    label: str
    measured: Measured
    floor: Measured | None
    real_count: int
    fake_count: int
    floor_count: int
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def headline(self) -> float:
        """The value that the metric is known by."""
        return self.measured.values[METRICS[self.metric].headline]


class Evaluator:
    """Compares sets of images with the reals of one pool; what it has learned of the reals is kept for the next set.

    Args:
        names: metrics, as in `METRICS`.
        pool: the reals.
        tools: classifier and feature network, made when first needed.
        num_images: how many on each side; 0 takes each metric's usual number. Where there are fewer reals, all of them once.
        seed: of everything random in the metrics.
        with_floor: compare reals with other reals, too.
        show_progress: a bar for every pass.

    Raises:
        UserError: a metric is unknown or cannot be computed at this resolution or from so few reals.
    """

    def __init__(
        self,
        names: Sequence[str],
        pool: RealPool,
        tools: Tools,
        *,
        num_images: int = 0,
        seed: int = 0,
        with_floor: bool = True,
        show_progress: bool = True,
    ):
        self.metrics = [find_metric(name) for name in names]
        for metric in self.metrics:
            metric.check(pool.resolution)
        self._pool, self._tools, self._seed, self._show_progress = pool, tools, seed, show_progress
        self._num_images = num_images
        self._with_floor = with_floor
        self._reals: dict[str, dict[str, Any]] | None = None
        self._floors: dict[str, tuple[Measured, int]] = {}

    def real_count(self, metric: Metric) -> int:
        """Reals that a metric is given."""
        return metric.whole(min(self._num_images or metric.usual_images, len(self._pool)))

    def fake_count(self, metric: Metric) -> int:
        """Fakes that a metric is given: as many as reals where it needs equal numbers."""
        return self.real_count(metric) if metric.needs_equal_counts else metric.whole(self._num_images or metric.usual_images)

    @property
    def most_fakes(self) -> int:
        """Images that `__call__` wants."""
        return max(map(self.fake_count, self.metrics))

    def classes(self) -> np.ndarray:
        """The classes of the reals, in their order: fakes of the same classes are what they are compared with."""
        return self._pool.draw(0, len(self._pool)).classes

    def __call__(self, fakes: ImageSet) -> list[Result]:
        """Every metric of `fakes`, which has `most_fakes` images or, if it is given, fewer.

        Raises:
            UserError: there are too few images.
        """
        if self._reals is None:
            self._reals = self._pass(self._pool.draw(0, max(map(self.real_count, self.metrics))), self.real_count)
            if self._with_floor:
                self._floors = self._measure_floors()
        gathered = self._pass(fakes, lambda metric: min(self.fake_count(metric), fakes.count))
        return [self._result(metric, gathered, fakes) for metric in self.metrics]

    def _result(self, metric: Metric, gathered: Mapping[str, Any], fakes: ImageSet) -> Result:
        real_count, fake_count = self.real_count(metric), min(self.fake_count(metric), fakes.count)
        measured = metric.compare(self._reals[metric.name], gathered[metric.name], self._seed)
        floor, floor_count = self._floors.get(metric.name, (None, 0))
        label = metric.name if fake_count == metric.usual_images else f"{metric.name}{_short(fake_count)}"
        details = {**self._tools.describe(metric), "seed": self._seed, "mirror": self._pool.mirror}
        return Result(metric.name, label, measured, floor, real_count, fake_count, floor_count, details)

    def _measure_floors(self) -> dict[str, tuple[Measured, int]]:
        """Two disjoint draws, of the full number where there are enough reals, else of half of them."""
        wanted = [metric for metric in self.metrics if metric.has_floor]
        counts = {metric.name: metric.whole(min(self.real_count(metric), len(self._pool) // 2)) for metric in wanted}
        if not wanted or not min(counts.values()):
            return {}
        most = max(counts.values())
        count_of = lambda metric: counts[metric.name]  # noqa: E731
        halves = [self._pass(self._pool.draw(first, most), count_of, wanted) for first in (0, len(self._pool) - most)]
        return {
            metric.name: (metric.compare(halves[0][metric.name], halves[1][metric.name], self._seed), counts[metric.name])
            for metric in wanted
        }

    def _pass(
        self, images: ImageSet, count_of: Callable[[Metric], int], metrics: Sequence[Metric] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Read `images` once; by metric, what its collectors have gathered."""
        metrics = self.metrics if metrics is None else metrics
        collectors: dict[tuple[str, int], Collector] = {}
        for metric in metrics:
            for kind in metric.inputs:
                key = kind, count_of(metric)
                if key not in collectors:
                    collectors[key] = self._tools.collector(kind, images.resolution, count_of(metric), self._seed)
        until = max(count for _, count in collectors)
        size = max(1, min(256, BATCH_PIXELS // images.resolution**2))
        bar = tqdm(
            total=until,
            desc=f"reading {images.name}",
            unit="img",
            delay=2,
            leave=False,
            disable=None if self._show_progress else True,
        )
        with bar:
            for first, batch in images.batches(size, until=until):
                for (_, count), collector in collectors.items():
                    if first < count:
                        collector.add(batch[: count - first], first)
                bar.update(len(batch))
        finished = {key: collector.finish() for key, collector in collectors.items()}
        return {metric.name: {kind: finished[kind, count_of(metric)] for kind in metric.inputs} for metric in metrics}


def find_metric(name: str) -> Metric:
    """A metric by its name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in METRICS:
        raise UserError(f"{name!r} is not a metric; there are: {', '.join(METRICS)}")
    return METRICS[name]


def _short(count: int) -> str:
    return f"{count // 1000}k" if count % 1000 == 0 else str(count)
