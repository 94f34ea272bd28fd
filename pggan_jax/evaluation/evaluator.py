"""From a data set and a set of images to numbers: one pass over each feeds all metrics; each number comes with its floor.

The floor of a metric is its value for reals against other reals, which no generator can be expected to beat.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from pggan_jax.errors import UserError
from pggan_jax.evaluation.image_sets import ImageSet
from pggan_jax.evaluation.measured import Measured
from pggan_jax.evaluation.metrics import METRICS, Collector, Gathered, Tools
from pggan_jax.metric_names import METRIC_KINDS

FEWEST_IMAGES = 16
_BATCH_PIXELS = 2**21
_REALS, _FAKES = 0, 1


@dataclass(frozen=True)
class Result:
    """One metric of one set of images.

    Attributes:
        metric: its name in `METRIC_KINDS`.
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
        return self.measured.values[METRIC_KINDS[self.metric].headline]


class Evaluator:
    """Compares sets of images with the reals of one pool; what it has learned of the reals is kept for the next set.

    Args:
        names: metrics, as in `METRIC_KINDS`.
        tools: the reals, and what else metrics need.
        num_images: how many on each side; 0 takes each metric's usual number. Where there are fewer reals, all of them once.
        seed: of everything random in the metrics.
        with_floor: compare reals with other reals, too.

    Raises:
        UserError: a metric is unknown, or is not for these reals.
    """

    def __init__(
        self,
        names: Sequence[str],
        tools: Tools,
        *,
        num_images: int = 0,
        seed: int = 0,
        with_floor: bool = True,
    ):
        self._names, self._tools, self._pool = list(dict.fromkeys(names)), tools, tools.pool
        self._num_images, self._seed = num_images, seed
        self._with_floor = with_floor
        self._reals: dict[str, Gathered] = {}
        self._floors: dict[str, tuple[Measured, int]] = {}
        for name in self._names:
            self._check(name)

    def _check(self, name: str) -> None:
        if name not in METRIC_KINDS:
            close = difflib.get_close_matches(name, METRIC_KINDS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(METRIC_KINDS)}"
            raise UserError(f"{name!r} is not a metric; {hint}")
        kind, side = METRIC_KINDS[name], self._pool.resolution
        if side < kind.minimum_resolution:
            hint = "; swd_small is the form for smaller ones" if name == "swd" else ""
            raise UserError(
                f"{name} needs images of {kind.minimum_resolution}x{kind.minimum_resolution} or more, not {side}x{side}{hint}"
            )
        if kind.needs_labels and not self._pool.loader.label_size:
            raise UserError(f"{name} is for data with classes that were trained with (data.labels=true)")
        self._tools.check(METRICS[name].gathers)
        _check_count(name, min(self.real_count(name), self.fake_count(name)))

    def real_count(self, name: str) -> int:
        """Reals that a metric is given."""
        kind, there = METRIC_KINDS[name], len(self._pool)
        return there if kind.takes_all_reals else _even(name, min(self._num_images or kind.usual_images, there))

    def fake_count(self, name: str) -> int:
        """Fakes that a metric is given: as many as reals where it needs equal numbers."""
        kind = METRIC_KINDS[name]
        return self.real_count(name) if kind.needs_equal_counts else _even(name, self._num_images or kind.usual_images)

    def held_out_count(self, name: str) -> int:
        """Held-out reals that a metric is given: as many as fakes, where there are so many."""
        there = len(self._tools.held_out) if self._tools.held_out and METRIC_KINDS[name].takes_held_out else 0
        return min(self.fake_count(name), there)

    @property
    def most_fakes(self) -> int:
        """Images that `__call__` wants."""
        return max(map(self.fake_count, self._names))

    def classes(self) -> np.ndarray:
        """The classes of the reals, in their order: fakes of the same classes are what they are compared with."""
        return self._pool.draw(0, len(self._pool)).classes

    def __call__(self, fakes: ImageSet) -> list[Result]:
        """Every metric of `fakes`.

        Raises:
            UserError: there are fewer images than a metric needs.
        """
        if not self._reals:
            reals = self._pool.draw(0, max(map(self.real_count, self._names)))
            self._reals = self._gather(reals, self._count_all(self.real_count), _REALS, are_reals=True)
            for name, held_out in self._gather_held_out().items():
                self._reals[name] = {**self._reals[name], "held_out": held_out}
            if self._with_floor:
                self._floors = self._measure_floors()
        for name in self._names:
            if METRIC_KINDS[name].needs_equal_counts and fakes.count < self.fake_count(name):
                raise UserError(
                    f"{name} needs as many fakes as reals, and there are only {fakes.count:,} for {self.fake_count(name):,}; "
                    f"give --num_images={fakes.count}"
                )
        counts = self._count_all(lambda name: _even(name, min(self.fake_count(name), fakes.count)))
        for name, count in counts.items():
            _check_count(name, count)
        gathered = self._gather(fakes, counts, _FAKES, are_reals=False)
        return [self._result(name, gathered[name], counts[name]) for name in self._names]

    def _count_all(self, count_of: Callable[[str], int]) -> dict[str, int]:
        return {name: count_of(name) for name in self._names}

    def _result(self, name: str, fakes: Gathered, fake_count: int) -> Result:
        kind, metric = METRIC_KINDS[name], METRICS[name]
        measured = metric.compare(self._reals[name], fakes, self._tools, self._seed)
        measured = replace(measured, notes=(*measured.notes, *self._tools.notes(metric.gathers)))
        floor, floor_count = self._floors.get(name, (None, 0))
        label = name if fake_count == kind.usual_images else f"{name}{_short(fake_count)}"
        details = {**self._tools.describe(metric.gathers), "seed": self._seed, "mirror": self._pool.mirror}
        details |= self._describe_held_out(name)
        return Result(name, label, measured, floor, self.real_count(name), fake_count, floor_count, details)

    def _describe_held_out(self, name: str) -> dict[str, Any]:
        """What a ratio is of: ratios to different reals do not compare."""
        if not METRIC_KINDS[name].takes_held_out:
            return {}
        if self._tools.held_out is None:
            return {"ratio_to": "leave_one_out"}
        return {
            "ratio_to": "held_out",
            "held_out": self._tools.held_out.name,
            "num_held_out": self.held_out_count(name),
        }

    def _gather_held_out(self) -> dict[str, Gathered]:
        counts = {name: count for name, count in self._count_all(self.held_out_count).items() if count}
        if not counts:
            return {}
        return self._gather(self._tools.held_out.draw(0, max(counts.values())), counts, _REALS, are_reals=True)

    def _measure_floors(self) -> dict[str, tuple[Measured, int]]:
        """Two disjoint draws, of the full number where there are enough reals, else of half of them."""
        counts = {
            name: _even(name, min(self.real_count(name), len(self._pool) // 2))
            for name in self._names
            if METRIC_KINDS[name].has_floor
        }
        counts = {name: count for name, count in counts.items() if count >= FEWEST_IMAGES}
        if not counts:
            return {}
        most = max(counts.values())
        firsts = {_REALS: 0, _FAKES: len(self._pool) - most}
        halves = [self._gather(self._pool.draw(first, most), counts, side, are_reals=True) for side, first in firsts.items()]
        return {
            name: (METRICS[name].compare(halves[0][name], halves[1][name], self._tools, self._seed), count)
            for name, count in counts.items()
        }

    def _gather(self, images: ImageSet, counts: Mapping[str, int], side: int, *, are_reals: bool) -> dict[str, Gathered]:
        """Read `images` once; by metric, what its collectors have gathered of its first so many."""
        collectors = self._collectors(images, counts, side, are_reals=are_reals)
        until = max(counts.values())
        size = max(1, min(256, _BATCH_PIXELS // images.resolution**2))
        hidden = None if self._tools.show_progress else True
        with tqdm(total=until, desc=f"reading {images.name}", unit="img", delay=2, leave=False, disable=hidden) as bar:
            for first, batch in images.batches(size, until=until):
                for (_, count), collector in collectors.items():
                    if first < count:
                        collector.add(batch[: count - first], first)
                bar.update(len(batch))
        finished = {key: collector.finish() for key, collector in collectors.items()}
        return {
            name: {"classes": images.classes[:count], **{kind: finished[kind, count] for kind in METRICS[name].gathers}}
            for name, count in counts.items()
        }

    def _collectors(
        self, images: ImageSet, counts: Mapping[str, int], side: int, *, are_reals: bool
    ) -> dict[tuple[str, int], Collector]:
        """By kind and number of images: metrics that need the same share one. Sides draw independently."""
        collectors: dict[tuple[str, int], Collector] = {}
        for kind, count in sorted({(kind, count) for name, count in counts.items() for kind in METRICS[name].gathers}):
            if kind == "features":
                keeps = frozenset().union(*(METRICS[name].keeps for name, own in counts.items() if own == count))
                collectors[kind, count] = self._tools.feature_collector(
                    images, count, keeps=keeps, are_reals=are_reals, has_jackknife=side == _FAKES
                )
            else:
                collectors[kind, count] = self._tools.collector(kind, images, count, 2 * self._seed + side)
        return collectors


def _check_count(name: str, count: int) -> None:
    if count < FEWEST_IMAGES:
        raise UserError(f"{name} needs {FEWEST_IMAGES} images or more on each side, not {count}")


def _even(name: str, count: int) -> int:
    """Pairs must not leave one image over."""
    return count - count % 2 if name == "ms_ssim" else count


def _short(count: int) -> str:
    return f"{count // 1000}k" if count % 1000 == 0 else str(count)
