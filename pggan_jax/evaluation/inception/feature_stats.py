"""Mean and covariance of features, accumulated in float64 in constant memory.

Second moments are taken about the mean of each block, and blocks are merged exactly (Chan et al. 1983): sums of plain squares
would lose digits where means are far from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

JACKKNIFE_GROUPS = 10
"""Groups of a set for the jackknife: image i belongs to group i modulo this number."""
MAX_KEPT = 2048
"""Largest number of images whose features are kept: no more numbers than the covariance of 2,048 features has."""


@dataclass(frozen=True)
class FeatureStats:
    """Statistics of features `[count, size]`.

    Attributes:
        count: number of images.
        mean: float64 `[size]`.
        scatter: float64 `[size, size]`, sum of the products of deviations from the mean.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> FeatureStats:
        """Compute the statistics of one or more feature vectors."""
        features = features.astype(np.float64)
        mean = features.mean(axis=0)
        features -= mean
        return cls(len(features), mean, features.T @ features)

    @property
    def covariance(self) -> np.ndarray:
        """float64 `[size, size]`, divided by count - 1."""
        return self.scatter / (self.count - 1)


def merge_stats(sets: Sequence[FeatureStats]) -> FeatureStats:
    """Return the statistics of the union of several sets."""
    counts, means = np.array([one.count for one in sets], np.float64), np.stack([one.mean for one in sets])
    mean = counts @ means / counts.sum()
    between = np.sqrt(counts)[:, None] * (means - mean)
    scatter = between.T @ between
    for one in sets:
        scatter += one.scatter
    return FeatureStats(sum(one.count for one in sets), mean, scatter)


@dataclass(frozen=True)
class FeatureSummary:
    """Summary of a set of features for the Frechet distance.

    It holds the features of a small set, or the statistics of the groups of a large one.

    Attributes:
        count, size: shape of the features.
        features: `[count, size]`, or None.
        groups: statistics of every n-th image from the first, second ... n-th on; empty if the features are kept.
    """

    count: int
    size: int
    features: np.ndarray | None
    groups: tuple[FeatureStats, ...] = ()

    @classmethod
    def of(cls, features: np.ndarray) -> FeatureSummary:
        """Summarise features by keeping them."""
        count, size = features.shape
        return cls(count, size, features)

    def whole(self) -> FeatureStats:
        """Return the statistics of all images."""
        return merge_stats(self.groups) if self.features is None else FeatureStats.of(self.features)

    def split(self) -> list[FeatureStats]:
        """Return the statistics of the ten groups of the jackknife.

        Raises:
            ValueError: the statistics were collected in another number of groups.
        """
        if self.features is not None:
            return [FeatureStats.of(self.features[group::JACKKNIFE_GROUPS]) for group in range(JACKKNIFE_GROUPS)]
        if len(self.groups) != JACKKNIFE_GROUPS:
            raise ValueError(f"a jackknife needs {JACKKNIFE_GROUPS} groups, not {len(self.groups)}")
        return list(self.groups)


class FeatureStatsCollector:
    """Accumulates a summary of features.

    Features wait in a buffer until it is full, and are then added to the statistics. Blocks are cut by the numbers of images,
    so the result does not depend on the batch size.

    Args:
        count: number of images.
        groups: `JACKKNIFE_GROUPS` for a jackknife, otherwise 1.
        max_kept: size of the buffer; the features of a set that is not larger are kept as they are.
    """

    def __init__(self, count: int, *, groups: int = JACKKNIFE_GROUPS, max_kept: int = MAX_KEPT):
        self._count, self._max_kept = count, min(count, max_kept)
        self._buffer: np.ndarray | None = None
        self._groups: list[FeatureStats | None] = [None] * groups
        self._added = self._absorbed = 0

    def add(self, features: np.ndarray, first: int) -> None:
        """Add features `[batch, size]` of the images first, first+1 ...

        Raises:
            ValueError: the images are out of order.
        """
        if first != self._added:
            raise ValueError(f"features must be added in order: expected image {self._added}, not {first}")
        if self._buffer is None:
            self._buffer = np.empty((self._max_kept, features.shape[1]), features.dtype)
        while len(features):
            if self._added - self._absorbed == self._max_kept:
                self._absorb()
            filled = self._added - self._absorbed
            taken = features[: self._max_kept - filled]
            self._buffer[filled : filled + len(taken)] = taken
            self._added, features = self._added + len(taken), features[len(taken) :]

    def _absorb(self) -> None:
        assert self._buffer is not None, "called after the first add()"
        waiting, number = self._buffer[: self._added - self._absorbed], len(self._groups)
        for group, before in enumerate(self._groups):
            own = waiting[(group - self._absorbed) % number :: number]
            if len(own):
                stats = FeatureStats.of(own)
                self._groups[group] = stats if before is None else merge_stats([before, stats])
        self._absorbed = self._added

    def finish(self) -> FeatureSummary:
        """Return the summary once all features have been added.

        Raises:
            ValueError: features are missing.
        """
        if self._buffer is None or self._added != self._count:
            raise ValueError(f"expected features of {self._count} images, and those of {self._added} were added")
        size = self._buffer.shape[1]
        if self._absorbed == 0:
            return FeatureSummary(self._count, size, self._buffer)
        self._absorb()
        return FeatureSummary(self._count, size, None, tuple(group for group in self._groups if group is not None))
