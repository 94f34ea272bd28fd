"""A data set at every resolution, as the loader sees it. Knows neither where its arrays lie nor where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

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
        checksums: stored CRC-32 of the pixels by resolution, where there are any.
        former_class_names: the order of the classes in earlier versions of this program, where it was another.
    """

    levels: Mapping[int, np.ndarray]
    classes: np.ndarray
    class_names: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    files: WatchedFiles | None = None
    checksums: Mapping[int, int] = field(default_factory=dict)
    former_class_names: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """Colour channels of every image."""
        return next(iter(self.levels.values())).shape[-1]

    def __len__(self) -> int:
        return len(self.classes)

    def in_class_order(self, class_names: Sequence[str]) -> Pyramid:
        """The same with its classes numbered in the order of `class_names`, which holds the same names."""
        number = {name: position for position, name in enumerate(class_names)}
        numbers = np.array([number[name] for name in self.class_names], np.int32)
        return replace(self, class_names=tuple(class_names), classes=numbers[self.classes])

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
