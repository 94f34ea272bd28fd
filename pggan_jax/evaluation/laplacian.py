"""Laplacian pyramid of images (spec 5.1), as the official metric builds it."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


@partial(jax.jit, static_argnames="coarsest")
def laplacian_pyramid(images: jax.Array, coarsest: int) -> list[jax.Array]:
    """What each resolution adds to the next smaller one.

    Args:
        images: `[batch, side, side, channels]`, any range; computed in float32.
        coarsest: side of the last level, a power of two.

    Returns:
        float32 levels with sides side, side/2 ... coarsest. Each is the image less what is left of it after shrinking and
        enlarging; the last is the shrunk image itself.
    """
    levels, finer = [], images.astype(jnp.float32)
    while finer.shape[1] > coarsest:
        coarser = _shrink(finer)
        levels.append(finer - _enlarge(coarser))
        finer = coarser
    return [*levels, finer]


def _blur(images: jax.Array, gain: float) -> jax.Array:
    """5x5 binomial filter; the border is mirrored without repeating its pixels."""
    padded = jnp.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    _, height, width, _ = images.shape
    rows = sum(gain * weight * padded[:, tap : tap + height] for tap, weight in enumerate(_BINOMIAL))
    return sum(gain * weight * rows[:, :, tap : tap + width] for tap, weight in enumerate(_BINOMIAL))


def _shrink(images: jax.Array) -> jax.Array:
    return _blur(images, gain=1.0)[:, ::2, ::2]


def _enlarge(images: jax.Array) -> jax.Array:
    batch, height, width, channels = images.shape
    spread = jnp.zeros((batch, 2 * height, 2 * width, channels), images.dtype).at[:, ::2, ::2].set(images)
    return _blur(spread, gain=2.0)
