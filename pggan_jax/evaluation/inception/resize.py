"""Resizing of images to the 299x299 input of the Inception network, in three ways.

It runs on the device. Values of different ways do not compare; the way is recorded with every value.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from pggan_jax.evaluation.inception.network import SIDE

MODES = ("tf1", "pytorchfid", "clean")
_HIGHEST = jax.lax.Precision.HIGHEST


def resize_for_inception(images: jax.Array, mode: str, side: int = SIDE) -> jax.Array:
    """Resize images and scale them to about -1..1.

    Args:
        images: uint8 `[batch, height, width, 3]`.
        mode: "tf1", as the original graph did: bilinear without a half-pixel shift; "pytorchfid": bilinear about pixel
            centres; "clean": bicubic with antialiasing, as Pillow does on floats.
        side: of the result.

    Returns:
        float32 `[batch, side, side, 3]`.
    """
    images = images.astype(jnp.float32)
    shape = (images.shape[0], side, side, images.shape[3])
    if mode == "tf1":
        rows, columns = _tf1_weights(images.shape[1], side), _tf1_weights(images.shape[2], side)
        resized = jnp.einsum("yh,bhwc->bywc", rows, images, precision=_HIGHEST)
        return (jnp.einsum("xw,bywc->byxc", columns, resized, precision=_HIGHEST) - 128.0) / 128.0
    if mode == "pytorchfid":
        return jax.image.resize(images, shape, "bilinear", antialias=False, precision=_HIGHEST) / 127.5 - 1.0
    resized = jax.image.resize(images, shape, "bicubic", antialias=True, precision=_HIGHEST)
    return (jnp.clip(resized, 0.0, 255.0) - 128.0) / 128.0


def _tf1_weights(size: int, side: int) -> np.ndarray:
    """Return the weight of each input pixel in each output pixel, float32 `[side, size]`."""
    source = np.arange(side, dtype=np.float32) * np.float32(size / side)
    low = np.floor(source).astype(int)
    high = np.minimum(low + 1, size - 1)
    share = source - low
    weights = np.zeros((side, size), np.float32)
    np.add.at(weights, (np.arange(side), low), 1 - share)
    np.add.at(weights, (np.arange(side), high), share)
    return weights
