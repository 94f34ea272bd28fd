"""The reals of a run at full resolution, and what is measured of images beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from experiments.paper.measuring import measurements
from pggan_jax.config import Config
from pggan_jax.data.loader import Loader
from pggan_jax.data.open_loader import open_loader
from pggan_jax.errors import UserError
from pggan_jax.evaluation.classifier import train_classifier
from pggan_jax.evaluation.evaluator import MIN_IMAGES, Evaluator
from pggan_jax.evaluation.image_sets import ImageSet, RealPool
from pggan_jax.evaluation.inception.features import FeatureExtractor
from pggan_jax.evaluation.inception.weights import RANDOM, find_weights
from pggan_jax.evaluation.metric import MetricContext
from pggan_jax.evaluation.metric_result import MetricResult
from pggan_jax.evaluation.pixels import pixel_rows
from pggan_jax.metric_kinds import METRIC_KINDS

OWN = ("fd8", "fd8_class", "readers")
"""Measurements that are defined here; all others are metrics of the library."""
FEATURES_SIDE = 107
"""Side of the random network's input; takes a tenth of the time of 299."""
_BATCH = 256


class Reals:
    """The reals at full resolution, and what is computed of them once.

    Args:
        config: of the run.
        all_reals: use all images of the source.
    """

    def __init__(self, config: Config, *, all_reals: bool):
        self.config = config
        self.data = replace(config.data.without_held_out(), max_images=0) if all_reals else config.data
        self.resolution = config.data.resolution
        self.loader = open_loader(self.data, seed=config.run.seed, progress=False)

    @cached_property
    def labelled(self) -> Loader | None:
        """The reals with their classes, also for runs without labels; None if there are none."""
        try:
            return open_loader(replace(self.data, labels=True, held_out_source=""), seed=self.config.run.seed, progress=False)
        except UserError:
            return None

    @cached_property
    def images(self) -> np.ndarray:
        """At most 10,000 of the reals, uint8."""
        count = min(len(self.loader), 10_000)
        return self.loader.images(self.resolution, np.arange(count))

    @cached_property
    def small(self) -> np.ndarray:
        """Their `small_rows`."""
        return measurements.small_rows(self.images)

    @cached_property
    def rows(self) -> np.ndarray:
        """Their `pixel_rows`."""
        return pixel_rows(self.images)

    @cached_property
    def classes(self) -> np.ndarray:
        """Their classes; empty without."""
        return self.labelled.class_table()[: len(self.images)] if self.labelled else np.zeros(0, np.int32)

    @cached_property
    def classifier(self) -> Any:
        """A support vector machine that is trained on them."""
        return train_classifier(self.rows, self.classes, seed=0)

    def usable(self, names: Sequence[str]) -> list[str]:
        """Return the metrics of the library among `names` that these reals allow."""
        shape = self.config.data.shape_at(self.resolution)
        is_stacked = self.data.source.startswith("stacked:")
        return [
            name
            for name in names
            if name not in OWN
            and not METRIC_KINDS[name].problem_of(shape)
            and (self.loader.label_size or not METRIC_KINDS[name].needs_labels)
            and (is_stacked or name != "modes")
        ]

    def evaluator(self, names: Sequence[str], *, num_images: int, with_floor: bool) -> Evaluator | None:
        """Return the library's evaluator of some metrics; None for none."""
        usable = self.usable(names)
        if not usable:
            return None
        pool = RealPool(self.loader, self.resolution, 0, mirror=self.data.mirror)
        context = MetricContext(
            pool,
            self.data,
            load_extractor=lambda: FeatureExtractor(find_weights(RANDOM, needed_by="kid"), side=FEATURES_SIDE),
            show_progress=False,
            with_uncertainty=False,
        )
        return Evaluator(usable, context, num_images=num_images, with_floor=with_floor)


def flat(name: str, result: MetricResult | None) -> dict[str, float]:
    """Return values by "metric.value", such as "swd.average" or "kid_random.kid"."""
    values = result.values if result else {}
    return {f"{name}.{value.removesuffix('_random')}": float(number) for value, number in values.items()}


def own_values(names: Sequence[str], fakes: ImageSet, *, reals: Reals) -> dict[str, float]:
    """Compute the measurements of `OWN` among `names`."""
    wanted = [name for name in OWN if name in names and (name == "fd8" or len(reals.classes))]
    if not wanted:
        return {}
    small, rows = [], []
    for _, images in fakes.batches(_BATCH, until=fakes.count):
        small.append(measurements.small_rows(images))
        rows.append(pixel_rows(images) if wanted != ["fd8"] else np.zeros((0, 1)))
    few, many = np.concatenate(small), np.concatenate(rows)
    values: dict[str, float] = {}
    if "fd8" in wanted:
        values["fd8"] = measurements.small_distance(few, reals.small)
    real = {"reals": reals.small, "real_classes": reals.classes}
    if "fd8_class" in wanted:
        is_labelled = bool(reals.loader.label_size)
        found = fakes.classes if is_labelled else reals.classifier.probabilities(many).argmax(axis=1)
        values |= class_values(measurements.class_distances(few, found, **real))
    if "readers" in wanted:
        values |= measurements.agreement(reals.classifier, many, reals=reals.rows, real_classes=reals.classes)
        if reals.loader.label_size:
            values |= measurements.as_requested(reals.classifier, many, fakes.classes)
    return values


def class_values(distances: Mapping[str, float]) -> dict[str, float]:
    """Return the distances of classes with their mean and maximum."""
    if not distances:
        return {}
    numbers = list(distances.values())
    named = {f"fd8_class.{label}": distance for label, distance in distances.items()}
    return {**named, "fd8_class.mean": float(np.mean(numbers)), "fd8_class.worst": max(numbers)}


def floors(names: Sequence[str], reals: Reals, *, num_images: int) -> dict[str, float]:
    """Measure reals against other reals: no generator can be expected to be better."""
    values: dict[str, float] = {}
    evaluator = reals.evaluator(names, num_images=num_images, with_floor=True)
    if evaluator and len(reals.loader) >= 2 * MIN_IMAGES:
        count = min(num_images, len(reals.loader))
        pool = RealPool(reals.loader, reals.resolution, 1, mirror=reals.data.mirror)
        # The evaluator needs a set of images to measure; of what it returns only the floors count.
        for one in evaluator(pool.draw(0, count)):
            values |= flat(one.name, one.floor)
    if "fd8" in names:
        values["fd8"] = measurements.halves_distance(reals.small)
    if not len(reals.classes):
        return values
    half = np.random.RandomState(0).permutation(len(reals.images))
    first, second = half[: len(half) // 2], half[len(half) // 2 :]
    real = {"real_classes": reals.classes[first]}
    if "fd8_class" in names:
        values |= class_values(
            measurements.class_distances(reals.small[second], reals.classes[second], reals=reals.small[first], **real)
        )
    if "readers" in names:
        reader = train_classifier(reals.rows[first], reals.classes[first], seed=0)
        values |= measurements.agreement(reader, reals.rows[second], reals=reals.rows[first], **real)
        values |= measurements.as_requested(reader, reals.rows[second], reals.classes[second])
    return values


def rounded(values: Mapping[str, float]) -> dict[str, float | None]:
    """Round to five digits; what JSON does not have becomes None."""
    return {name: float(f"{value:.5g}") if math.isfinite(value) else None for name, value in values.items()}
