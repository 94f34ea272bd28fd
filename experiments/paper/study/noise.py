"""Means over seeds, their errors, and whether a difference is larger than the noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.95
"""Of the intervals: one of twenty comparisons without any effect will look like one."""


@dataclass(frozen=True)
class Mean:
    """Mean of some seeds with its standard error; the error is NaN for a single seed."""

    value: float
    error: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        """Compute the mean of at least one value."""
        count = len(values)
        mean = sum(values) / count
        if count < 2:
            return cls(mean, math.nan, count)
        variance = sum((value - mean) ** 2 for value in values) / (count - 1)
        return cls(mean, math.sqrt(variance / count), count)

    def __str__(self) -> str:
        if math.isnan(self.error):
            return f"{self.value:.4g}"
        if not self.error:
            return f"{self.value:.4g} ± 0"
        digits = max(0, 1 - math.floor(math.log10(self.error)))
        return f"{self.value:.{digits}f} ± {self.error:.{digits}f}"


@dataclass(frozen=True)
class Difference:
    """Difference of two means, `first - second`, with Welch's interval (unequal variances).

    Attributes:
        value: of the means.
        low, high: ends of the interval; infinite where a side has a single seed.
    """

    value: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0

    @classmethod
    def of(cls, first: Sequence[float], second: Sequence[float], *, level: float = LEVEL) -> Difference:
        """Compare two sets of seeds."""
        one, other = Mean.of(first), Mean.of(second)
        value = one.value - other.value
        if min(one.count, other.count) < 2:
            return cls(value, -math.inf, math.inf)
        squares = one.error**2, other.error**2
        if not sum(squares):
            return cls(value, value, value)
        freedom = sum(squares) ** 2 / sum(
            square**2 / (count - 1) for square, count in zip(squares, (one.count, other.count), strict=True)
        )
        from scipy.stats import t

        half = float(t.ppf(0.5 + level / 2, freedom)) * math.sqrt(sum(squares))
        return cls(value, value - half, value + half)

    def __str__(self) -> str:
        if math.isinf(self.low):
            return f"{self.value:+.3g} (no interval)"
        return f"{self.value:+.3g} [{self.low:+.3g}, {self.high:+.3g}]"


def best(values: dict[str, list[float]], *, larger: bool) -> str:
    """Return which set of seeds is clearly better than each of the others; "" for none."""
    present = {name: one for name, one in values.items() if one}
    if len(present) < 2:
        return ""
    order = sorted(present, key=lambda name: Mean.of(present[name]).value, reverse=larger)
    first = order[0]
    is_clear = all(Difference.of(present[first], present[name]).is_clear for name in order[1:])
    return first if is_clear else ""


def crossing(points: Sequence[tuple[float, float]], level: float, *, larger: bool = False) -> float:
    """Return where a curve first is as good as `level`, by linear interpolation; else NaN.

    Args:
        points: (time or images, value), in order.
        level: the value to reach.
        larger: whether larger values are better.
    """
    sign = -1.0 if larger else 1.0
    before: tuple[float, float] | None = None
    for at, value in points:
        if sign * value <= sign * level:
            if before is None or before[1] == value:
                return at
            return before[0] + (at - before[0]) * (before[1] - level) / (before[1] - value)
        before = at, value
    return math.nan
