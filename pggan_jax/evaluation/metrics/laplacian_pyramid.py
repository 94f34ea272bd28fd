"""Laplacian pyramid of images (spec 5.1), as the official metric builds it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def laplacian_pyramid(images: jax.Array, coarsest: int) -> list[jax.Array]:
    """What each resolution adds to the next smaller one.

    Args:
        images: `[batch, side, side, channels]`, any range; computed in float32.
        coarsest: side of the last level, a power of two.

    Returns:
        float32 levels with sides side, side/2 ... coarsest. Each is the image less what is left of it after shrinking and
        enlarging; the last is the shrunk image itself.
    """
    levels, finer = [], images
    while finer.shape[1] > coarsest:
        levels.append(detail(finer))
        finer = shrink(finer)
    return [*levels, jnp.asarray(finer, jnp.float32)]


def level_of(images: jax.Array | np.ndarray, side: int) -> jax.Array:
    """The level of that side of a pyramid which goes on to smaller ones, as `laplacian_pyramid` gives it."""
    return detail(_shrunk(images, side))


def last_level_of(images: jax.Array | np.ndarray, side: int) -> jax.Array:
    """The last level of a pyramid that ends at that side."""
    return jnp.asarray(_shrunk(images, side), jnp.float32)


def _shrunk(images: jax.Array | np.ndarray, side: int) -> jax.Array | np.ndarray:
    while images.shape[1] > side:
        images = shrink(images)
    return images


@jax.jit
def detail(images: jax.Array) -> jax.Array:
    """What shrinking and enlarging takes away: `[batch, side, side, channels]` to float32 of the same shape."""
    images = images.astype(jnp.float32)
    return images - _enlarge(_shrink(images))


@jax.jit
def shrink(images: jax.Array) -> jax.Array:
    """Filtered and halved: `[batch, side, side, channels]` to float32 `[batch, side/2, side/2, channels]`."""
    return _shrink(images.astype(jnp.float32))


def _shrink(images: jax.Array) -> jax.Array:
    """5x5 binomial filter at every other pixel; the border is mirrored without repeating its pixels."""
    for axis in (1, 2):
        side = images.shape[axis]
        padded = jnp.pad(images, [(2, 2) if one == axis else (0, 0) for one in range(4)], mode="reflect")
        taps = [jax.lax.slice_in_dim(padded, tap, tap + side, stride=2, axis=axis) for tap in range(5)]
        images = jnp.asarray(sum(weight * tap for weight, tap in zip(_BINOMIAL, taps, strict=True)))
    return images


def _enlarge(images: jax.Array) -> jax.Array:
    """The same filter, times four, of the image spread out with zeros between its pixels, none of which is ever multiplied.

    Even pixels see a pixel and its two neighbours, odd ones the two that they lie between. Mirrored on the finer grid, the
    border repeats the last pixel of a row, but not the first.
    """
    edge, near, middle = (2 * weight for weight in _BINOMIAL[:3])
    for axis in (1, 2):
        before, after = jnp.take(images, jnp.array([1]), axis), jnp.take(images, jnp.array([-1]), axis)
        padded = jnp.concatenate([before, images, after], axis)
        left, here, right = (jax.lax.slice_in_dim(padded, tap, tap + images.shape[axis], axis=axis) for tap in range(3))
        even, odd = edge * (left + right) + middle * here, near * (here + right)
        shape = [2 * size if one == axis else size for one, size in enumerate(images.shape)]
        images = jnp.stack([even, odd], axis + 1).reshape(shape)
    return images
