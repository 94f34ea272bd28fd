"""The nearest of many points, on the device in pieces of bounded memory: for manifold metrics and nearest neighbours."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

ROWS_AT_ONCE, COLUMNS_AT_ONCE = 1024, 8192


@partial(jax.jit, static_argnames=("count",))
def _nearest_in_part(
    points: jax.Array, others: jax.Array, own: jax.Array, first: jax.Array, last: jax.Array, count: int
) -> tuple[jax.Array, jax.Array]:
    squares = jnp.sum(points**2, axis=1)[:, None] + jnp.sum(others**2, axis=1) - 2 * _products(points, others)
    numbers = first + jnp.arange(others.shape[0], dtype=jnp.int32)
    is_out = (numbers >= last) | (numbers == own[:, None])
    negative, places = jax.lax.top_k(-jnp.where(is_out, jnp.inf, jnp.maximum(squares, 0.0)), count)
    return -negative, first + places


def _products(points: jax.Array, others: jax.Array) -> jax.Array:
    return jnp.matmul(points, others.T, precision=jax.lax.Precision.HIGHEST)


def nearest(
    points: np.ndarray, others: np.ndarray, count: int, *, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of `others` to each of `points`.

    Args:
        points: `[n, size]`.
        others: `[m, size]`.
        count: how many of the nearest, at most m.
        own: int `[n]`, if `points` are among `others`: which of them each is, as no point is its own neighbour.

    Returns:
        Distances, float64 `[n, count]` in rising order, and their numbers in `others`, int64 `[n, count]`.
    """
    distances, numbers = np.empty((len(points), count)), np.empty((len(points), count), np.int64)
    width = min(COLUMNS_AT_ONCE, len(others))
    for start in range(0, len(points), ROWS_AT_ONCE):
        rows = np.arange(start, min(start + ROWS_AT_ONCE, len(points)))
        ours = jnp.asarray(points[rows], jnp.float32)
        excluded = jnp.asarray(np.full(len(rows), -1) if own is None else own[rows])
        found = []
        for first in range(0, len(others), width):
            part = others[first : first + width]
            padded = np.concatenate([part, np.zeros((width - len(part), part.shape[1]), part.dtype)])
            found.append(
                _nearest_in_part(ours, jnp.asarray(padded, jnp.float32), excluded, first, len(others), min(count, width))
            )
        squares, places = (np.concatenate([np.asarray(one) for one in parts], axis=1) for parts in zip(*found, strict=True))
        order = np.argsort(squares, axis=1, kind="stable")[:, :count]
        distances[rows] = np.sqrt(np.take_along_axis(squares, order, axis=1).astype(np.float64))
        numbers[rows] = np.take_along_axis(places, order, axis=1)
    return distances, numbers


def count_within(points: np.ndarray, others: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """How many of `others` have each point within their radius; int64 `[n]`. On the edge counts as within."""

    @jax.jit
    def count(points: jax.Array, others: jax.Array, squared: jax.Array) -> jax.Array:
        squares = jnp.sum(points**2, axis=1)[:, None] + jnp.sum(others**2, axis=1) - 2 * _products(points, others)
        return jnp.sum(jnp.maximum(squares, 0.0) <= squared, axis=1)

    counts = np.zeros(len(points), np.int64)
    for start in range(0, len(points), ROWS_AT_ONCE):
        ours = jnp.asarray(points[start : start + ROWS_AT_ONCE], jnp.float32)
        for first in range(0, len(others), COLUMNS_AT_ONCE):
            part = slice(first, first + COLUMNS_AT_ONCE)
            squared = jnp.asarray(radii[part] ** 2, jnp.float32)
            counts[start : start + len(ours)] += np.asarray(count(ours, jnp.asarray(others[part], jnp.float32), squared))
    return counts
