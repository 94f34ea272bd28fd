"""Kernel distance: unbiased squared MMD of features with the kernel (x.y / size + 1)^3 (Binkowski et al. 2018). float64."""

from __future__ import annotations

import numpy as np

from pggan_jax.evaluation.measured import Measured

SUBSETS, SUBSET_SIZE = 100, 1000
_ROWS_AT_ONCE = 2048


def _kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    products = first @ second.T
    products /= first.shape[1]
    products += 1.0
    return products**3


def mmd(first: np.ndarray, second: np.ndarray) -> float:
    """Of all features `[count, size]`, whose counts may differ; may be a little below 0."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    n, m = len(first), len(second)
    within = [(_sum(points, points) - _diagonal(points)) / (len(points) * (len(points) - 1)) for points in (first, second)]
    return float(sum(within) - 2 * _sum(first, second) / (n * m))


def _sum(first: np.ndarray, second: np.ndarray) -> float:
    starts = range(0, len(first), _ROWS_AT_ONCE)
    return float(sum(_kernel(first[start : start + _ROWS_AT_ONCE], second).sum() for start in starts))


def _diagonal(points: np.ndarray) -> float:
    return float(((np.square(points).sum(axis=1) / points.shape[1] + 1.0) ** 3).sum())


def kid(reals: np.ndarray, fakes: np.ndarray, seed: int) -> Measured:
    """`kid`: mean over 100 random subsets of 1,000, and its standard error; `spread`: standard deviation over subsets, which is
    what others print; `full`: one estimate from all images."""
    size, random = min(SUBSET_SIZE, len(reals), len(fakes)), np.random.RandomState(seed)
    draws = [
        mmd(reals[random.choice(len(reals), size, replace=False)], fakes[random.choice(len(fakes), size, replace=False)])
        for _ in range(SUBSETS)
    ]
    notes = (f"subsets of {size}, as there are no more images",) if size < SUBSET_SIZE else ()
    spread = float(np.std(draws))
    values = {"kid": float(np.mean(draws)), "spread": spread, "full": mmd(reals, fakes)}
    return Measured(values, {"kid": spread / np.sqrt(SUBSETS)}, notes)
