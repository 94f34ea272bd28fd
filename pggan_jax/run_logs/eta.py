"""The remaining time of a run, and durations as text."""

from __future__ import annotations

import math
from collections.abc import Mapping


class EtaEstimator:
    """Estimate the remaining time from the measured speed of each resolution.

    Resolutions that were not measured yet are scaled from the nearest one that was, by their arithmetic.

    Args:
        cost_per_image: relative arithmetic per image, by resolution.
    """

    def __init__(self, cost_per_image: Mapping[int, float]):
        self._cost = dict(cost_per_image)
        self._seconds_per_image: dict[int, float] = {}

    def observe(self, images: Mapping[int, int], seconds: float) -> None:
        """Record the seconds that some images, counted by resolution, took together."""
        cost = sum(count * self._cost[resolution] for resolution, count in images.items())
        for resolution in images:
            measured = seconds * self._cost[resolution] / cost
            before = self._seconds_per_image.get(resolution, measured)
            self._seconds_per_image[resolution] = 0.5 * (measured + before)

    def seconds(self, remaining: Mapping[int, int]) -> float:
        """Return the seconds for the remaining images; NaN before anything was observed."""
        if not self._seconds_per_image:
            return math.nan
        return sum(images * self._estimate(resolution) for resolution, images in remaining.items())

    def _estimate(self, resolution: int) -> float:
        if resolution in self._seconds_per_image:
            return self._seconds_per_image[resolution]
        nearest = min(self._seconds_per_image, key=lambda measured: abs(math.log2(measured / resolution)))
        return self._seconds_per_image[nearest] * self._cost[resolution] / self._cost[nearest]


def format_duration(seconds: float) -> str:
    """Format seconds, such as '12.3 s', '4m 05s', '3h 07m', '2d 4h'; '?' for NaN."""
    if math.isnan(seconds):
        return "?"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes}m {int(seconds % 60):02d}s"
    hours = minutes // 60
    return f"{hours}h {minutes % 60:02d}m" if hours < 48 else f"{hours // 24}d {hours % 24}h"
