"""What images every metric takes: uint8, grey ones with their channel three times. Float input is refused, never guessed."""

from __future__ import annotations

import numpy as np

from pggan_jax.errors import UserError


def check_type(images: np.ndarray) -> None:
    """Refuse anything but uint8.

    Raises:
        UserError: it is something else.
    """
    if images.dtype != np.uint8:
        raise UserError(f"images to be judged must be uint8 from 0 to 255, not {images.dtype}; convert them by images.to_uint8")


def as_rgb(images: np.ndarray) -> np.ndarray:
    """uint8 `[batch, height, width, 1 or 3]` as `[batch, height, width, 3]`.

    Raises:
        UserError: another type, shape or number of channels.
    """
    check_type(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise UserError(f"images to be judged must be [batch, height, width, 1 or 3], not {list(images.shape)}")
    return images if images.shape[-1] == 3 else np.broadcast_to(images, (*images.shape[:3], 3))


def check_side(images: np.ndarray, resolution: int) -> None:
    """Refuse images of another side than was announced.

    Raises:
        UserError: they have one.
    """
    if images.shape[1:3] != (resolution, resolution):
        height, width = images.shape[1:3]
        raise UserError(f"images to be judged are {height}x{width}, expected {resolution}x{resolution}")
