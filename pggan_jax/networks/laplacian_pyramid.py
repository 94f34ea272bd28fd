"""Laplacian pyramid of images (spec 5.1), as the official metric builds it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def laplacian_pyramid(images: jax.Array, coarsest: int) -> list[jax.Array]:
    """Compute the Laplacian pyramid.

    Args:
        images: `[batch, height, width, channels]`, any range; computed in float32.
        coarsest: height of the last level, the height of the images divided by a power of two.

    Returns:
        float32 levels, each half as high and wide as the one before. Each is the difference of the image and its copy reduced
        and enlarged again; the last is the reduced image itself.
    """
    levels, finer = [], images
    while finer.shape[1] > coarsest:
        levels.append(detail(finer))
        finer = reduce_by_2(finer)
    return [*levels, jnp.asarray(finer, jnp.float32)]


def level_of(images: jax.Array | np.ndarray, height: int) -> jax.Array:
    """Return the level with that height of a pyramid that continues to smaller levels."""
    return detail(_reduced(images, height))


def last_level_of(images: jax.Array | np.ndarray, height: int) -> jax.Array:
    """Return the last level of a pyramid that ends at that height."""
    return jnp.asarray(_reduced(images, height), jnp.float32)


def _reduced(images: jax.Array | np.ndarray, height: int) -> jax.Array | np.ndarray:
    while images.shape[1] > height:
        images = reduce_by_2(images)
    return images


@jax.jit
def detail(images: jax.Array) -> jax.Array:
    """Return images minus their reduced and enlarged copies, float32 of the same shape."""
    images = images.astype(jnp.float32)
    return images - _enlarge(_reduce(images))


@jax.jit
def reduce_by_2(images: jax.Array) -> jax.Array:
    """Filter and halve images, to float32 `[batch, height/2, width/2, channels]`."""
    return _reduce(images.astype(jnp.float32))


def _reduce(images: jax.Array) -> jax.Array:
    """Apply the 5x5 binomial filter at every other pixel, with mirrored borders."""
    for axis in (1, 2):
        side = images.shape[axis]
        padded = jnp.pad(images, [(2, 2) if one == axis else (0, 0) for one in range(4)], mode="reflect")
        taps = [jax.lax.slice_in_dim(padded, tap, tap + side, stride=2, axis=axis) for tap in range(5)]
        images = jnp.asarray(sum(weight * tap for weight, tap in zip(_BINOMIAL, taps, strict=True)))
    return images


def _enlarge(images: jax.Array) -> jax.Array:
    """Insert zeros between the pixels and apply the same filter, times four.

    The zeros are not multiplied: even output pixels depend on a pixel and its two neighbours, odd ones on the two adjacent
    pixels. Mirrored on the finer grid, the border repeats the last pixel of a row, but not the first.
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
