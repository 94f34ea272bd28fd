"""From a data set and a set of images to numbers: one pass over each feeds all metrics; each number comes with its floor.

The floor of a metric is its value for reals against other reals, which no generator can be expected to beat.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from pggan_jax.errors import UserError
from pggan_jax.evaluation.image_sets import ImageSet
from pggan_jax.evaluation.metric_result import Measured
from pggan_jax.evaluation.registry import METRICS, Collector, Gathered, Tools
from pggan_jax.metric_kinds import METRIC_KINDS, public_name

FEWEST_IMAGES = 16
_BATCH_PIXELS = 2**21
_REALS, _FAKES = 0, 1


@dataclass(frozen=True)
class Result:
    """One metric of one set of images.

    Attributes:
        metric: its name in `METRIC_KINDS`.
        name: what it may be called, see `public_name`.
        label: that name with the number of images, where that is not the usual one: numbers of different counts do not compare.
        measured: values and their uncertainty.
        floor: the same for reals against other reals; None where that means nothing.
        real_count, fake_count, floor_count: images on each side; 0 where they are of no use.
        details: what else the numbers depend on.
    """

    metric: str
    name: str
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
        headline = METRIC_KINDS[self.metric].headline
        return self.measured.values[self.name if headline == self.metric else headline]


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
        self._knows_reals = False
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
            raise UserError(f"{name} is for runs that were trained on data with classes, with data.labels=true")
        self._tools.check(METRICS[name].gathers)
        _check_count(name, min(self.real_count(name), self.fake_count(name)) if kind.needs_reals else self.fake_count(name))

    def real_count(self, name: str) -> int:
        """Reals that a metric is given."""
        kind, there = METRIC_KINDS[name], len(self._pool)
        if kind.takes_all_reals or not kind.needs_reals:
            return there if kind.needs_reals else 0
        return _even(name, min(self._num_images or kind.most_reals or kind.usual_images, there))

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
        counts = self._count_all(lambda name: _even(name, min(self.fake_count(name), fakes.count)))
        for name, count in counts.items():
            _check_count(name, count)
            if METRIC_KINDS[name].needs_equal_counts and count < self.fake_count(name):
                raise UserError(
                    f"{name} needs as many fakes as reals, and there are only {fakes.count:,} for {self.fake_count(name):,}; "
                    f"give --num_images={fakes.count}"
                )
        if not self._knows_reals:
            self._reals = self._gather_reals()
            if self._with_floor:
                self._floors = self._measure_floors()
            self._knows_reals = True
        began = time.perf_counter()
        gathered = self._gather_views(fakes, counts, _FAKES, are_reals=False)
        results = [self._result(name, gathered[name], counts[name]) for name in self._names]
        seconds = round(time.perf_counter() - began, 2)
        return [replace(result, details={**result.details, "seconds_for_all": seconds}) for result in results]

    def _gather_reals(self) -> dict[str, Gathered]:
        """By metric. Where training flipped images at random, those that look for copies see none flipped at random."""
        counts = {name: count for name, count in self._count_all(self.real_count).items() if count}
        reals: dict[str, Gathered] = {}
        for takes_all in (False, True):
            ours = {name: count for name, count in counts.items() if METRIC_KINDS[name].takes_all_reals == takes_all}
            if ours:
                pool = replace(self._pool, mirror=self._pool.mirror and not takes_all)
                images = pool.draw(0, max(ours.values()))
                reals |= self._gather_views(images, ours, _REALS, are_reals=True)
        for name, held_out in self._gather_held_out().items():
            reals[name] = {**reals[name], "held_out": held_out}
        return reals

    def _gather_views(self, images: ImageSet, counts: Mapping[str, int], side: int, *, are_reals: bool) -> dict[str, Gathered]:
        """What `_gather` gives, and `flipped` beside it for metrics that look for copies, if training flipped images."""
        gathered = self._gather(images, counts, side, are_reals=are_reals)
        ours = {name: count for name, count in counts.items() if METRIC_KINDS[name].takes_all_reals}
        if self._pool.mirror and ours:
            for name, flipped in self._gather(images.flipped(), ours, side, are_reals=are_reals).items():
                gathered[name] = {**gathered[name], "flipped": flipped}
        return gathered

    def _count_all(self, count_of: Callable[[str], int]) -> dict[str, int]:
        return {name: count_of(name) for name in self._names}

    def _result(self, name: str, fakes: Gathered, fake_count: int) -> Result:
        kind, metric = METRIC_KINDS[name], METRICS[name]
        measured = metric.compare(self._reals.get(name, {}), fakes, self._tools, self._seed)
        measured = replace(measured, notes=(*measured.notes, *self._tools.notes(metric.gathers)))
        floor, floor_count = self._floors.get(name, (None, 0))
        shown = public_name(name, has_random_features=kind.needs_inception and self._tools.has_random_features)
        details = {**self._tools.describe(metric.gathers), **metric.details, "seed": self._seed, "mirror": self._pool.mirror}
        return Result(
            metric=name,
            name=shown,
            label=shown if fake_count == kind.usual_images else f"{shown}{_short(fake_count)}",
            measured=measured.renamed(name, shown),
            floor=floor and floor.renamed(name, shown),
            real_count=self.real_count(name),
            fake_count=fake_count,
            floor_count=floor_count,
            details=details | self._describe_held_out(name),
        )

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
        assert self._tools.held_out is not None
        return self._gather_views(self._tools.held_out.draw(0, max(counts.values())), counts, _REALS, are_reals=True)

    def _measure_floors(self) -> dict[str, tuple[Measured, int]]:
        """Two disjoint draws, of the full number where there are enough reals, else of half of them."""
        counts = {
            name: _even(name, min(self.real_count(name) or self.fake_count(name), len(self._pool) // 2))
            for name in self._names
            if METRIC_KINDS[name].has_floor
        }
        counts = {name: count for name, count in counts.items() if count >= FEWEST_IMAGES}
        if not counts:
            return {}
        most = max(counts.values())
        # The first draw is the reals themselves, where these need not be halved.
        halved = {name: count for name, count in counts.items() if count != self.real_count(name)}
        firsts = {name: self._reals[name] for name in counts.keys() - halved.keys()}
        if halved:
            firsts |= self._gather(self._pool.draw(0, max(halved.values())), halved, _REALS, are_reals=True)
        others = self._gather(self._pool.draw(len(self._pool) - most, most), counts, _FAKES, are_reals=True)
        return {
            name: (METRICS[name].compare(firsts[name], others[name], self._tools, self._seed), count)
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
                sharing = [METRICS[name] for name, own in counts.items() if own == count and kind in METRICS[name].gathers]
                keeps = frozenset().union(*(metric.keeps for metric in sharing))
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
