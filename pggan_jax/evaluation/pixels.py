"""Checks of image arrays, and images as rows of pixel values.

Metrics take uint8 images; float images are refused, as their range is unknown.
"""

from __future__ import annotations

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.images import ImageShape

LARGEST_SIDE = 32


def check_type(images: np.ndarray) -> None:
    """Refuse images that are not uint8.

    Raises:
        UserError: the images have another type.
    """
    if images.dtype != np.uint8:
        raise UserError(f"images must be uint8 from 0 to 255, not {images.dtype}; convert them with images.to_uint8")


def as_rgb(images: np.ndarray) -> np.ndarray:
    """Repeat the channel of grey images.

    Args:
        images: uint8 `[batch, height, width, 1 or 3]`.

    Returns:
        uint8 `[batch, height, width, 3]`.

    Raises:
        UserError: the images have another type, shape or number of channels.
    """
    check_type(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise UserError(f"images must have the shape [batch, height, width, 1 or 3], not {list(images.shape)}")
    return images if images.shape[-1] == 3 else np.broadcast_to(images, (*images.shape[:3], 3))


def check_shape(images: np.ndarray, shape: ImageShape) -> None:
    """Refuse images of another height or width.

    Raises:
        UserError: the images have another height or width.
    """
    height, width = images.shape[1:3]
    if (height, width) != (shape.height, shape.width):
        raise UserError(f"images must be {shape}, not {height}x{width}")


def pixel_rows(images: np.ndarray) -> np.ndarray:
    """Flatten images to rows; those with a side above 32 are box-filtered first.

    Args:
        images: uint8 `[count, height, width, channels]`.

    Returns:
        float32 `[count, pixels]` in 0..255.

    Raises:
        UserError: the images have another type.
    """
    check_type(images)
    count, height, width, channels = images.shape
    factor = max(1, max(height, width) // LARGEST_SIDE)
    while height % factor or width % factor:  # sides such as 48, which are no powers of two
        factor -= 1
    small = images.reshape(count, height // factor, factor, width // factor, factor, channels)
    return small.mean(axis=(2, 4), dtype=np.float32).reshape(count, -1)
