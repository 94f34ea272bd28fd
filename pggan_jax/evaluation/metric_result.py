"""What every metric gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Measured:
    """Numbers of one metric.

    Attributes:
        values: by name.
        uncertainty: one standard error of some of them, by the same names.
        notes: what must be known to read them, one line each.
        pictures: uint8 `[height, width, channels]` by name.
        lists: what is too long for a table, ready for JSON, by name.
    """

    values: Mapping[str, float]
    uncertainty: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)
    lists: Mapping[str, Any] = field(default_factory=dict)

    def renamed(self, old: str, new: str) -> Measured:
        """The same with another name for one value."""
        values, uncertainty = (
            {new if name == old else name: number for name, number in numbers.items()}
            for numbers in (self.values, self.uncertainty)
        )
        return replace(self, values=values, uncertainty=uncertainty)
