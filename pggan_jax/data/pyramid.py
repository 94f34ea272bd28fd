"""A data set at every resolution, as the loader sees it. Knows neither where its arrays lie nor where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pggan_jax.data.watched_files import WatchedFiles

_SKIPPED_SHOWN = 3


@dataclass(frozen=True)
class Pyramid:
    """Arrays in memory or memory maps.

    Attributes:
        levels: by resolution, from the largest down to 4: uint8 `[images, resolution, resolution, channels]`.
        classes: int32 `[images]` class numbers; zeros without classes.
        class_names: one name per class.
        skipped: why each unusable image was left out, its name included.
        files: the files that the levels are mapped from, if they are.
    """

    levels: Mapping[int, np.ndarray]
    classes: np.ndarray
    class_names: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    files: WatchedFiles | None = None

    @property
    def channels(self) -> int:
        """Colour channels of every image."""
        return next(iter(self.levels.values())).shape[-1]

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def warning(self) -> str:
        """One line about the images that were left out, or nothing."""
        if not self.skipped:
            return ""
        return f"left out {len(self.skipped)} unusable image{'s' * (len(self.skipped) > 1)}: {examples(self.skipped)}"


def examples(reasons: Sequence[str]) -> str:
    """The first few of many reasons, in one line."""
    more = len(reasons) - _SKIPPED_SHOWN
    return "; ".join(reasons[:_SKIPPED_SHOWN]) + (f"; and {more} more" if more > 0 else "")
