"""Results of metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pggan_jax.metric_kinds import METRIC_KINDS


@dataclass(frozen=True)
class MetricResult:
    """Values of one metric for one pair of image sets.

    Attributes:
        values: by name.
        uncertainty: one standard error of some of the values, by the same names.
        notes: warnings that belong to the values, one line each.
        images: uint8 `[height, width, channels]` by name.
        lists: results too long for a table, ready for JSON, by name.
    """

    values: Mapping[str, float]
    uncertainty: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    images: Mapping[str, np.ndarray] = field(default_factory=dict)
    lists: Mapping[str, Any] = field(default_factory=dict)

    def renamed(self, old: str, new: str) -> MetricResult:
        """Return a copy in which one value has another name."""
        values, uncertainty = (
            {new if name == old else name: number for name, number in numbers.items()}
            for numbers in (self.values, self.uncertainty)
        )
        return replace(self, values=values, uncertainty=uncertainty)


@dataclass(frozen=True)
class Evaluation:
    """One metric of one set of images, with its real-versus-real floor and its settings.

    Attributes:
        metric: name in `METRIC_KINDS`.
        name: name in records, see `public_name`.
        label: that name, with the number of images if that is not the default: values of different counts do not compare.
        result: values for the images.
        floor: values for reals against other reals; None if not measured or not meaningful.
        real_count, fake_count, floor_count: images on each side; 0 where none are used.
        details: further settings that the values depend on.
    """

    metric: str
    name: str
    label: str
    result: MetricResult
    floor: MetricResult | None
    real_count: int
    fake_count: int
    floor_count: int
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def headline(self) -> float:
        """The most important value."""
        headline = METRIC_KINDS[self.metric].headline
        return float(self.result.values[self.name if headline == self.metric else headline])
