"""Images as rows of numbers, for what compares pixels directly."""

from __future__ import annotations

import numpy as np

from pggan_jax.evaluation.checks import check_type

LARGEST_SIDE = 32


def box_shrunk(images: np.ndarray) -> np.ndarray:
    """float32 `[count, numbers]` on 0..255 of uint8 `[count, side, side, channels]`; larger ones shrink to 32x32 first.

    Raises:
        UserError: images of another type.
    """
    check_type(images)
    count, side, _, channels = images.shape
    factor = max(1, side // LARGEST_SIDE)
    small = images.reshape(count, side // factor, factor, side // factor, factor, channels)
    return small.mean(axis=(2, 4), dtype=np.float32).reshape(count, -1)
