"""Nearest neighbours, computed on the device in blocks of bounded memory."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

ROWS_AT_ONCE, COLUMNS_AT_ONCE = 1024, 8192


def _squared_distances(points: jax.Array, others: jax.Array) -> jax.Array:
    products = jnp.matmul(points, others.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.sum(points**2, axis=1)[:, None] + jnp.sum(others**2, axis=1) - 2 * products


@partial(jax.jit, static_argnames=("count",))
def _nearest_in_block(
    points: jax.Array, others: jax.Array, own: jax.Array, first: jax.Array, last: jax.Array, count: int
) -> tuple[jax.Array, jax.Array]:
    squares = _squared_distances(points, others)
    numbers = first + jnp.arange(others.shape[0], dtype=jnp.int32)
    is_excluded = (numbers >= last) | (numbers == own[:, None])
    negative, indices = jax.lax.top_k(-jnp.where(is_excluded, jnp.inf, jnp.maximum(squares, 0.0)), count)
    return -negative, first + indices


@jax.jit
def _count_in_block(points: jax.Array, others: jax.Array, squared_radii: jax.Array) -> jax.Array:
    return jnp.sum(jnp.maximum(_squared_distances(points, others), 0.0) <= squared_radii, axis=1)


def nearest(
    points: np.ndarray, others: np.ndarray, *, count: int, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest of `others` to each of `points`.

    Args:
        points: `[n, size]`.
        others: `[m, size]`.
        count: number of neighbours, at most m.
        own: int `[n]`, the index of each point in `others` if `points` are among them; a point is not its own neighbour.

    Returns:
        Distances, float64 `[n, count]` in rising order, and indices in `others`, int64 `[n, count]`.
    """
    distances, numbers = np.empty((len(points), count)), np.empty((len(points), count), np.int64)
    width = min(COLUMNS_AT_ONCE, len(others))
    for start in range(0, len(points), ROWS_AT_ONCE):
        rows = np.arange(start, min(start + ROWS_AT_ONCE, len(points)))
        block = jnp.asarray(points[rows], jnp.float32)
        excluded = jnp.asarray(np.full(len(rows), -1) if own is None else own[rows])
        found = []
        for first in range(0, len(others), width):
            part = others[first : first + width]
            padded = jnp.asarray(np.concatenate([part, np.zeros((width - len(part), part.shape[1]), part.dtype)]), jnp.float32)
            found.append(_nearest_in_block(block, padded, excluded, first, len(others), min(count, width)))
        squares, indices = (np.concatenate([np.asarray(one) for one in parts], axis=1) for parts in zip(*found, strict=True))
        order = np.argsort(squares, axis=1, kind="stable")[:, :count]
        distances[rows] = np.sqrt(np.take_along_axis(squares, order, axis=1).astype(np.float64))
        numbers[rows] = np.take_along_axis(indices, order, axis=1)
    return distances, numbers


def count_within(points: np.ndarray, others: np.ndarray, *, radii: np.ndarray) -> np.ndarray:
    """Count the balls that contain each point.

    Args:
        points: `[n, size]`.
        others: `[m, size]`, the centres of the balls.
        radii: `[m]`; a point at exactly this distance is inside.

    Returns:
        int64 `[n]`.
    """
    counts = np.zeros(len(points), np.int64)
    for start in range(0, len(points), ROWS_AT_ONCE):
        block = jnp.asarray(points[start : start + ROWS_AT_ONCE], jnp.float32)
        for first in range(0, len(others), COLUMNS_AT_ONCE):
            part = slice(first, first + COLUMNS_AT_ONCE)
            squared = jnp.asarray(radii[part] ** 2, jnp.float32)
            counts[start : start + len(block)] += np.asarray(
                _count_in_block(block, jnp.asarray(others[part], jnp.float32), squared)
            )
    return counts
