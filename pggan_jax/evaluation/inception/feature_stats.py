"""Count, mean and spread of features, gathered in float64 while they come, in memory that does not grow with their number.

Second moments are taken about the mean of each block and blocks are joined exactly (Chan et al. 1983): sums of plain squares
would lose digits wherever means are far from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PARTS = 10
"""Of a set, for the jackknife: image i belongs to part i modulo so many."""
KEPT = 2048
"""Features of so many images are kept as they are: no more numbers than the covariance of 2,048 features has."""


@dataclass(frozen=True)
class Moments:
    """Of features `[count, size]`.

    Attributes:
        count: how many.
        mean: float64 `[size]`.
        scatter: float64 `[size, size]`, sum of the products of deviations from the mean.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Moments:
        """Of one feature vector or more."""
        features = features.astype(np.float64)
        mean = features.mean(axis=0)
        features -= mean
        return cls(len(features), mean, features.T @ features)

    @property
    def covariance(self) -> np.ndarray:
        """float64 `[size, size]`, divided by count - 1."""
        return self.scatter / (self.count - 1)


def joined(sets: Sequence[Moments]) -> Moments:
    """Of all features of several sets together."""
    counts, means = np.array([one.count for one in sets], np.float64), np.stack([one.mean for one in sets])
    mean = counts @ means / counts.sum()
    between = np.sqrt(counts)[:, None] * (means - mean)
    scatter = between.T @ between
    for one in sets:
        scatter += one.scatter
    return Moments(sum(one.count for one in sets), mean, scatter)


@dataclass(frozen=True)
class Summary:
    """What the Frechet distance needs of a set: the features themselves where they are few, else the moments of its parts.

    Attributes:
        count, size: shape of the features.
        features: `[count, size]`, or None.
        parts: moments of every n-th image from the first, second ... n-th on; none where features are kept.
    """

    count: int
    size: int
    features: np.ndarray | None
    parts: tuple[Moments, ...] = ()

    @classmethod
    def of(cls, features: np.ndarray) -> Summary:
        """Of features that are there anyway."""
        count, size = features.shape
        return cls(count, size, features)

    def whole(self) -> Moments:
        """Of all images."""
        return joined(self.parts) if self.features is None else Moments.of(self.features)

    def split(self) -> list[Moments]:
        """Of the ten parts of the jackknife.

        Raises:
            ValueError: the set was not gathered in ten parts.
        """
        if self.features is not None:
            return [Moments.of(self.features[part::PARTS]) for part in range(PARTS)]
        if len(self.parts) != PARTS:
            raise ValueError(f"a jackknife takes {PARTS} parts, not {len(self.parts)}")
        return list(self.parts)


class MomentCollector:
    """Gathers a summary of features: those that wait for their turn, and the moments of those that had it.

    Blocks are cut by the numbers of images, so that the batches in which they come change nothing.

    Args:
        count: how many will come.
        parts: into how many parts, `PARTS` for a jackknife, 1 otherwise.
        kept: images whose features wait at most; where no more come, they are the summary.
    """

    def __init__(self, count: int, *, parts: int = PARTS, kept: int = KEPT):
        self._count, self._kept = count, min(count, kept)
        self._waiting: np.ndarray | None = None
        self._parts: list[Moments | None] = [None] * parts
        self._seen = self._done = 0

    def add(self, features: np.ndarray, first: int) -> None:
        """Take features `[batch, size]` of the images first, first+1 ...

        Raises:
            ValueError: they do not come in order.
        """
        if first != self._seen:
            raise ValueError(f"features of image {first} came when those of image {self._seen} should")
        if self._waiting is None:
            self._waiting = np.empty((self._kept, features.shape[1]), features.dtype)
        while len(features):
            if self._seen - self._done == self._kept:
                self._absorb()
            filled = self._seen - self._done
            taken = features[: self._kept - filled]
            self._waiting[filled : filled + len(taken)] = taken
            self._seen, features = self._seen + len(taken), features[len(taken) :]

    def _absorb(self) -> None:
        assert self._waiting is not None, "called when some features have come"
        waiting, number = self._waiting[: self._seen - self._done], len(self._parts)
        for part, before in enumerate(self._parts):
            own = waiting[(part - self._done) % number :: number]
            if len(own):
                self._parts[part] = Moments.of(own) if before is None else joined([before, Moments.of(own)])
        self._done = self._seen

    def finish(self) -> Summary:
        """Once all have come.

        Raises:
            ValueError: some have not.
        """
        if self._waiting is None or self._seen != self._count:
            raise ValueError(f"{self._seen} images came of {self._count}")
        size = self._waiting.shape[1]
        if self._done == 0:
            return Summary(self._count, size, self._waiting)
        self._absorb()
        return Summary(self._count, size, None, tuple(part for part in self._parts if part is not None))
