"""The resolutions of a data set: their shapes, and the box filter that makes each from the one above."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

BASE_SHAPE = (4, 4)
"""Height and width of the first level that the networks grow from."""
_LARGEST = 255


def level_shapes(resolution: int, base_shape: tuple[int, int] = BASE_SHAPE) -> dict[int, tuple[int, int]]:
    """(height, width) of every level, by its nominal resolution, largest first.

    Args:
        resolution: of the largest level, 4*2^k: the base shape is doubled k times.
        base_shape: height and width of the first level; levels are named as if it were 4x4.

    Raises:
        ValueError: `resolution` is not 4*2^k.
    """
    if resolution < 4 or resolution & (resolution - 1):
        raise ValueError(f"resolution {resolution} is not 4*2^k")
    powers = range(resolution.bit_length() - 1, 1, -1)
    return {2**power: (base_shape[0] * 2 ** (power - 2), base_shape[1] * 2 ** (power - 2)) for power in powers}


def fill_levels(levels: Mapping[int, np.ndarray]) -> None:
    """Compute all lower levels of some images from the largest.

    Each is a 2x2 box mean of the level above before that was rounded, then clip(rint(x), 0, 255) (spec 4.1). Whole-number sums
    make this exact at every size.

    Args:
        levels: uint8 `[images, height, width, channels]` by resolution, largest first; all but the first are overwritten.
    """
    first, *lower = levels.values()
    sums = first
    for halvings, level in enumerate(lower, start=1):
        sums = _pair_sums(sums, halvings)
        _rounded_means(sums, halvings, out=level)


def _pair_sums(sums: np.ndarray, halvings: int) -> np.ndarray:
    """Sums of 2x2 blocks. Columns channel by channel: loops over three neighbouring bytes would be ten times slower."""
    # Rounding adds half a divisor.
    dtype = np.uint16 if _LARGEST * 4**halvings + 4**halvings // 2 < 2**16 else np.uint32
    rows = np.add(sums[:, 0::2], sums[:, 1::2], dtype=dtype)
    images, height, width, channels = rows.shape
    blocks = np.empty((images, height, width // 2, channels), dtype)
    for channel in range(channels):
        np.add(rows[:, :, 0::2, channel], rows[:, :, 1::2, channel], out=blocks[..., channel])
    return blocks


def _rounded_means(sums: np.ndarray, halvings: int, *, out: np.ndarray) -> None:
    """sums / 4^halvings, halves to the even neighbour."""
    bits = 2 * halvings
    rounded = (sums >> bits) & 1
    rounded += sums
    rounded += 2 ** (bits - 1) - 1
    np.right_shift(rounded, bits, out=out, casting="unsafe")
