"""Evaluation of a set of images against reals.

One pass over each set collects the data of all metrics. Beside each value stands the real-versus-real floor: the value for
reals against other reals, which no generator can be expected to beat.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from tqdm import tqdm

from pggan_jax.errors import UserError
from pggan_jax.evaluation.image_sets import ImageSet
from pggan_jax.evaluation.inception import feature_stats
from pggan_jax.evaluation.inception.feature_cache import CachedFeatures
from pggan_jax.evaluation.inception.features import FeatureCollector, OutputRequest
from pggan_jax.evaluation.metric import Collected, Collector, MetricContext, make_collector, naming_metric
from pggan_jax.evaluation.metric_result import Evaluation, MetricResult
from pggan_jax.evaluation.registry import METRICS
from pggan_jax.evaluation.sounds.clips import Batch, check_medium
from pggan_jax.generation.model import Model
from pggan_jax.metric_kinds import public_name
from pggan_jax.system.paths import cache_root

MIN_IMAGES = 16
_BATCH_PIXELS = 2**21
_REALS, _FAKES = 0, 1
Counts = Mapping[str, int]


class Evaluator:
    """Compares sets of images with reals; the data of the reals is collected once and kept.

    Args:
        names: metrics, as in `METRICS`.
        context: the reals, and what else metrics need.
        num_images: images on each side; 0 for the default of each metric. If there are fewer reals, each is used once.
        with_floor: compare reals with other reals, too.

    Raises:
        UserError: a metric is unknown, or cannot be computed for these reals.
    """

    def __init__(self, names: Sequence[str], context: MetricContext, *, num_images: int = 0, with_floor: bool = True):
        self._names, self._context, self._pool = list(dict.fromkeys(names)), context, context.reals
        self._num_images, self._with_floor = num_images, with_floor
        self._reals: dict[str, Collected] | None = None
        self._floors: dict[str, tuple[MetricResult, int]] = {}
        for name in self._names:
            self._check(name)

    def _check(self, name: str) -> None:
        if name not in METRICS:
            close = difflib.get_close_matches(name, METRICS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(METRICS)}"
            raise UserError(f"{name!r} is not a metric; {hint}")
        metric = METRICS[name]
        check_medium(metric.kind, self._pool.loader)
        problem = metric.kind.problem_of(self._pool.shape)
        if problem:
            hint = "; use swd_small for smaller ones" if name == "swd" else ""
            raise UserError(f"{problem}{hint}")
        if metric.kind.needs_labels and not self._pool.loader.label_size:
            raise UserError(f"{name} needs a run trained on data with classes, with data.labels=true")
        if metric.inception:
            _ = self._context.extractor
        metric.check(self._context)
        counts = [self.fake_count(name), *[self.real_count(name)] * metric.kind.needs_reals]
        _check_count(name, min(counts))

    def real_count(self, name: str) -> int:
        """Return the number of reals that a metric uses."""
        kind, available = METRICS[name].kind, len(self._pool)
        if not kind.needs_reals:
            return 0
        if kind.uses_all_reals:
            return available
        return _usable(name, min(self._num_images or kind.max_reals or kind.default_images, available))

    def fake_count(self, name: str) -> int:
        """Return the number of generated images that a metric uses."""
        kind = METRICS[name].kind
        return self.real_count(name) if kind.needs_equal_counts else _usable(name, self._num_images or kind.default_images)

    def held_out_count(self, name: str) -> int:
        """Return the number of held-out reals that a metric uses: at most that of its fakes."""
        held_out = self._context.held_out
        return min(self.fake_count(name), len(held_out)) if held_out and METRICS[name].kind.uses_held_out else 0

    @property
    def max_fakes(self) -> int:
        """Largest number of generated images that a metric uses."""
        return max(map(self.fake_count, self._names))

    def classes(self) -> np.ndarray:
        """Return the classes of the reals in their order, for generated images of the same classes."""
        return self._pool.draw(0, len(self._pool)).classes

    def __call__(self, fakes: ImageSet, *, model: Model | None = None) -> list[Evaluation]:
        """Compute every metric of `fakes`.

        Args:
            fakes: the generated images.
            model: what generated them, for metrics that need it.

        Raises:
            UserError: there are fewer images than a metric needs, or a metric does not follow the interface of `Metric`.
        """
        counts = self._counts(lambda name: _usable(name, min(self.fake_count(name), fakes.count)))
        for name, count in counts.items():
            _check_count(name, count)
            if METRICS[name].kind.needs_equal_counts and count < self.fake_count(name):
                raise UserError(
                    f"{name} needs as many images as reals: {self.fake_count(name):,}, and there are {fakes.count:,}; "
                    f"give --num_images={fakes.count}"
                )
        if self._reals is None:
            reals = self._collect_reals()
            self._floors = self._measure_floors(reals) if self._with_floor else {}
            self._reals = reals
        self._context.model = model
        began = time.perf_counter()
        collected = self._collect_views(fakes, counts, side=_FAKES, are_reals=False)
        evaluations = [
            self._evaluation(name, self._reals.get(name, {}), collected[name], fake_count=count)
            for name, count in counts.items()
        ]
        seconds = round(time.perf_counter() - began, 2)
        return [replace(one, details={**one.details, "seconds_for_all": seconds}) for one in evaluations]

    def _counts(self, count_of: Callable[[str], int]) -> dict[str, int]:
        return {name: count_of(name) for name in self._names}

    def _evaluation(self, name: str, reals: Collected, fakes: Collected, *, fake_count: int) -> Evaluation:
        metric, context = METRICS[name], self._context
        extractor = context.extractor if metric.inception else None
        shown = public_name(name, has_random_features=extractor is not None and extractor.has_random_weights)
        result = metric.measure(reals, fakes, context)
        result = replace(result, notes=(*result.notes, *(extractor.notes if extractor else ())))
        floor, floor_count = self._floors.get(name, (None, 0))
        return Evaluation(
            metric=name,
            name=shown,
            label=shown if fake_count == metric.kind.default_images else f"{shown}{_short(fake_count)}",
            result=result.renamed(name, shown),
            floor=floor and floor.renamed(name, shown),
            real_count=self.real_count(name),
            fake_count=fake_count,
            floor_count=floor_count,
            details={
                **(extractor.details if extractor else {}),
                **metric.details,
                "seed": context.seed,
                "mirror": self._pool.mirror,
                **({"reals": f"{count:,} images held out"} if (count := self._pool.loader.held_out_count) else {}),
                **self._held_out_details(name),
            },
        )

    def _held_out_details(self, name: str) -> dict[str, Any]:
        """Return which reals a ratio refers to: ratios to different reals do not compare."""
        held_out = self._context.held_out
        if not METRICS[name].kind.uses_held_out:
            return {}
        if held_out is None:
            return {"ratio_to": "leave_one_out"}
        return {"ratio_to": "held_out", "held_out": held_out.name, "num_held_out": self.held_out_count(name)}

    def _collect_reals(self) -> dict[str, Collected]:
        """Collect the data of the reals; for metrics that use all reals, of unflipped ones."""
        counts = {name: count for name, count in self._counts(self.real_count).items() if count}
        reals: dict[str, Collected] = {}
        for uses_all in (False, True):
            own = {name: count for name, count in counts.items() if METRICS[name].kind.uses_all_reals == uses_all}
            if own:
                pool = replace(self._pool, mirror=self._pool.mirror and not uses_all)
                reals |= self._collect_views(pool.draw(0, max(own.values())), own, side=_REALS, are_reals=True)
        held_out_counts = {name: count for name, count in self._counts(self.held_out_count).items() if count}
        if self._context.held_out and held_out_counts:
            images = self._context.held_out.draw(0, max(held_out_counts.values()))
            for name, data in self._collect_views(images, held_out_counts, side=_REALS, are_reals=True).items():
                reals[name] = {**reals[name], "held_out": data}
        return reals

    def _measure_floors(self, reals: Mapping[str, Collected]) -> dict[str, tuple[MetricResult, int]]:
        """Compare two disjoint draws of reals; each of half of them if there are too few."""
        counts = self._counts(
            lambda name: _usable(name, min(self.real_count(name) or self.fake_count(name), len(self._pool) // 2))
        )
        counts = {name: count for name, count in counts.items() if METRICS[name].kind.has_floor and count >= MIN_IMAGES}
        if not counts:
            return {}
        largest = max(counts.values())
        # The first draw is the reals themselves, unless they have to be halved.
        halved = {name: count for name, count in counts.items() if count != self.real_count(name)}
        firsts = {name: reals[name] for name in counts.keys() - halved.keys()}
        if halved:
            firsts |= self._collect(self._pool.draw(0, max(halved.values())), halved, side=_REALS, are_reals=True)
        others = self._collect(self._pool.draw(len(self._pool) - largest, largest), counts, side=_FAKES, are_reals=True)
        return {
            name: (METRICS[name].measure(firsts[name], others[name], self._context), count) for name, count in counts.items()
        }

    def _collect_views(self, images: ImageSet, counts: Counts, *, side: int, are_reals: bool) -> dict[str, Collected]:
        """Collect, and add `flipped` for metrics that use all reals if training flipped images."""
        collected = self._collect(images, counts, side=side, are_reals=are_reals)
        own = {name: count for name, count in counts.items() if METRICS[name].kind.uses_all_reals}
        if self._pool.mirror and own:
            for name, flipped in self._collect(images.flipped(), own, side=side, are_reals=are_reals).items():
                collected[name] = {**collected[name], "flipped": flipped}
        return collected

    def _collect(self, images: ImageSet, counts: Counts, *, side: int, are_reals: bool) -> dict[str, Collected]:
        """Read `images` once and return, by metric, the data of its first `counts[name]` images."""
        collectors = self._collectors(images, counts, side=side, are_reals=are_reals)
        users = {key: _users(key, counts) for key in collectors}
        until = max(counts.values())
        size = max(1, min(256, _BATCH_PIXELS // images.shape.pixels))
        hidden = None if self._context.show_progress else True
        representation = self._pool.loader.representation
        images = images.unrounded() if representation else images
        with tqdm(total=until, desc=f"reading {images.name}", unit="img", delay=2, leave=False, disable=hidden) as bar:
            for first, pixels in images.batches(size, until=until):
                batch = Batch(pixels, representation)
                for key, collector in collectors.items():
                    if first < key[1]:
                        with naming_metric(users[key]):
                            collector.add(batch.part(collector, key[1] - first), first)
                bar.update(len(pixels))
        finished = {}
        for key, collector in collectors.items():
            with naming_metric(users[key]):
                finished[key] = collector.finish()
        result: dict[str, Collected] = {}
        for name, count in counts.items():
            metric = METRICS[name]
            result[name] = {"classes": images.classes[:count]} | {
                key: finished[factory, count] for key, factory in metric.collect.items()
            }
            if metric.inception:
                result[name] = {**result[name], "inception": finished["inception", count]}
        return result

    def _collectors(
        self, images: ImageSet, counts: Counts, *, side: int, are_reals: bool
    ) -> dict[tuple[Any, int], Collector | CachedFeatures]:
        """Make the collectors by factory and number of images; metrics that need the same share one.

        The Inception network's has "inception" in place of the factory. The two sides have different seeds.
        """
        collectors: dict[tuple[Any, int], Collector | CachedFeatures] = {}
        outputs: dict[int, frozenset[str]] = {}
        for name, count in counts.items():
            metric = METRICS[name]
            for factory in metric.collect.values():
                if (factory, count) not in collectors:
                    with naming_metric(name):
                        seed = 2 * self._context.seed + side
                        collectors[factory, count] = make_collector(factory, images.shape, count=count, seed=seed)
            if metric.inception:
                outputs[count] = outputs.get(count, frozenset()) | metric.inception
        for count, wanted in outputs.items():
            groups = feature_stats.JACKKNIFE_GROUPS if side == _FAKES else 1
            request = OutputRequest(count, wanted, groups=groups, max_kept=feature_stats.MAX_KEPT)
            collectors["inception", count] = (
                CachedFeatures(self._context.extractor, images, request=request, folder=cache_root() / "features")
                if are_reals
                else FeatureCollector(self._context.extractor, images.shape, request=request)
            )
        return collectors


def _users(key: tuple[Any, int], counts: Counts) -> str:
    """Return which metrics use the collector of a key."""
    factory, count = key
    own = (name for name in counts if counts[name] == count)
    return ", ".join(name for name in own if factory in [*METRICS[name].collect.values(), "inception"])


def _check_count(name: str, count: int) -> None:
    if count < MIN_IMAGES:
        raise UserError(f"{name} needs at least {MIN_IMAGES} images on each side, not {count}")


def _usable(name: str, count: int) -> int:
    """Return `count`, or one less if the metric needs an even number."""
    return count - count % 2 if METRICS[name].kind.needs_even_counts else count


def _short(count: int) -> str:
    return f"{count // 1000}k" if count % 1000 == 0 else str(count)
