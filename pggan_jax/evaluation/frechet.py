"""Frechet distance of two sets of features, as if each were normal (Heusel et al. 2017; docs/metrics.md). float64, host."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from pggan_jax.evaluation.measured import Measured

_PARTS = 10


class Moments(NamedTuple):
    """Mean float64 `[size]` and covariance float64 `[size, size]` of features, the latter divided by count - 1."""

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Moments:
        """Of features `[count, size]`, at least two."""
        features = features.astype(np.float64)
        return cls(features.mean(axis=0), np.cov(features, rowvar=False))


def frechet_distance(first: Moments, second: Moments) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), the last as the sum of singular values of S1^(1/2) S2^(1/2)."""
    return _by_moments(first, _root(first.covariance), second)


def _by_moments(first: Moments, root: np.ndarray, second: Moments) -> float:
    overlap = np.linalg.svd(root.T @ _root(second.covariance), compute_uv=False).sum()
    shift, traces = first.mean - second.mean, np.trace(first.covariance) + np.trace(second.covariance)
    return _not_negative(shift @ shift + traces - 2 * overlap, traces)


def _by_features(first: np.ndarray, second: np.ndarray) -> float:
    """The same, faster and exact where there are fewer images than features."""
    centred = [features.astype(np.float64) - features.mean(axis=0, dtype=np.float64) for features in (first, second)]
    scale = np.sqrt((len(first) - 1) * (len(second) - 1))
    overlap = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum() / scale
    traces = [np.square(part).sum() / (len(part) - 1) for part in centred]
    shift = first.mean(axis=0, dtype=np.float64) - second.mean(axis=0, dtype=np.float64)
    return _not_negative(shift @ shift + sum(traces) - 2 * overlap, sum(traces))


def distance_from(reals: np.ndarray, *, most: int) -> Callable[[np.ndarray], float]:
    """The Frechet distance of features `[count, size]` from `reals`, of which everything is done once.

    Args:
        reals: features `[count, size]`, at least two.
        most: how many the others will be at most.
    """
    if max(len(reals), most) < reals.shape[1]:
        return partial(_by_features, reals)
    moments = Moments.of(reals)
    root = _root(moments.covariance)
    return lambda features: _by_moments(moments, root, Moments.of(features))


def _not_negative(distance: float, scale: float) -> float:
    """Rounding may leave a little less than 0; much less would be a mistake."""
    if distance < -1e-3 * scale:
        raise ValueError(f"a Frechet distance of {distance} cannot be")
    return float(max(distance, 0.0))


def _root(covariance: np.ndarray) -> np.ndarray:
    """L with L L^T = covariance, without the directions in which there is nothing but rounding."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > len(values) * np.finfo(np.float64).eps * values.max(initial=0.0)
    return vectors[:, kept] * np.sqrt(values[kept])


def fid(reals: np.ndarray, fakes: np.ndarray) -> Measured:
    """Of features; the uncertainty is a jackknife over ten parts of the fakes."""
    distance, notes = distance_from(reals, most=len(fakes)), ()
    if min(len(reals), len(fakes)) < reals.shape[1]:
        notes = (f"with fewer images than the {reals.shape[1]} features the value is strongly biased upwards",)
    parts = np.arange(len(fakes)) % _PARTS
    without = [distance(fakes[parts != part]) for part in range(_PARTS)]
    error = np.sqrt((_PARTS - 1) * np.var(without))
    return Measured({"fid": distance(fakes)}, {"fid": float(error)}, notes)
