"""A data set at every resolution, and the box filter that computes the levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from pggan_jax.data.watched_files import WatchedFiles
from pggan_jax.images import BASE_SHAPE, image_shape
from pggan_jax.sound.representations import Representation

if TYPE_CHECKING:
    from pggan_jax.data.original_clips import OriginalClips

_LARGEST = 255
_SKIPPED_SHOWN = 3


@dataclass(frozen=True)
class Pyramid:
    """The arrays of a data set, in memory or memory maps.

    Attributes:
        levels: by nominal resolution, from the largest down to 4: uint8 `[images, height, width, channels]`.
        classes: int32 `[images]` class numbers; zeros without classes.
        class_names: one name per class.
        skipped: for each image that was left out its name and the reason.
        files: the files from which the levels are mapped; None for arrays in memory.
        checksums: stored CRC-32 of the pixels by resolution; empty where none are stored.
        former_class_names: the class names in the order of earlier versions of this program; empty where it is the same.
        representation: how the images were made of sound; None for images.
        clips: of which they were made; None where the source cannot give them.
        label_kind: what the classes of sound are: pitch, family or folder; empty for images.
    """

    levels: Mapping[int, np.ndarray]
    classes: np.ndarray
    class_names: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    files: WatchedFiles | None = None
    checksums: Mapping[int, int] = field(default_factory=dict)
    former_class_names: tuple[str, ...] = ()
    representation: Representation | None = None
    clips: OriginalClips | None = None
    label_kind: str = ""

    @property
    def channels(self) -> int:
        """Number of colour channels."""
        return next(iter(self.levels.values())).shape[-1]

    def __len__(self) -> int:
        return len(self.classes)

    def in_class_order(self, class_names: Sequence[str]) -> Pyramid:
        """Return the data with classes numbered in the order of `class_names`, which may have more."""
        number = {name: position for position, name in enumerate(class_names)}
        numbers = np.array([number[name] for name in self.class_names], np.int32)
        return replace(self, class_names=tuple(class_names), classes=numbers[self.classes])

    @property
    def warning(self) -> str:
        """One line about the images that were left out, or ""."""
        if not self.skipped:
            return ""
        return f"left out {len(self.skipped)} unusable image{'s' * (len(self.skipped) > 1)}: {first_reasons(self.skipped)}"


def first_reasons(reasons: Sequence[str]) -> str:
    """Return the first few of many reasons in one line."""
    more = len(reasons) - _SKIPPED_SHOWN
    return "; ".join(reasons[:_SKIPPED_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def level_shapes(resolution: int, base_shape: tuple[int, int] = BASE_SHAPE) -> dict[int, tuple[int, int]]:
    """Return (height, width) of every level by its nominal resolution, largest first.

    Args:
        resolution: of the largest level, 4*2^k: the base shape is doubled k times.
        base_shape: height and width of the first level; levels are named as if it were 4x4.

    Raises:
        ValueError: `resolution` is not 4*2^k.
    """
    if resolution < 4 or resolution & (resolution - 1):
        raise ValueError(f"resolution {resolution} is not 4*2^k")
    shapes = [image_shape(2**power, base_shape) for power in range(resolution.bit_length() - 1, 1, -1)]
    return {shape.resolution: (shape.height, shape.width) for shape in shapes}


def fill_levels(levels: Mapping[int, np.ndarray]) -> None:
    """Compute all lower levels of some images from the largest one, in place.

    Each is the 2x2 box mean of the unrounded level above, then clip(rint(x), 0, 255) (spec 4.1); integer sums make this exact.

    Args:
        levels: uint8 `[images, height, width, channels]` by resolution, largest first; all but the first are overwritten.
    """
    first, *lower = levels.values()
    sums = first
    for halvings, level in enumerate(lower, start=1):
        sums = _pair_sums(sums, halvings)
        _rounded_means(sums, halvings, out=level)


def _pair_sums(sums: np.ndarray, halvings: int) -> np.ndarray:
    """Return the sums of 2x2 blocks.

    Columns by channel, as loops over three adjacent bytes are ten times slower.
    """
    # Rounding adds half a divisor.
    dtype = np.uint16 if _LARGEST * 4**halvings + 4**halvings // 2 < 2**16 else np.uint32
    rows = np.add(sums[:, 0::2], sums[:, 1::2], dtype=dtype)
    images, height, width, channels = rows.shape
    blocks = np.empty((images, height, width // 2, channels), dtype)
    for channel in range(channels):
        np.add(rows[:, :, 0::2, channel], rows[:, :, 1::2, channel], out=blocks[..., channel])
    return blocks


def _rounded_means(sums: np.ndarray, halvings: int, *, out: np.ndarray) -> None:
    """Write sums / 4^halvings to `out`, with halves rounded to even."""
    bits = 2 * halvings
    rounded = (sums >> bits) & 1
    rounded += sums
    rounded += 2 ** (bits - 1) - 1
    np.right_shift(rounded, bits, out=out, casting="unsafe")
