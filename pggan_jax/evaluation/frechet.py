"""Frechet distance of two sets of features, as if each were normal (Heusel et al. 2017; docs/metrics.md). float64, host."""

from __future__ import annotations

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
    overlap = np.linalg.svd(_root(first.covariance).T @ _root(second.covariance), compute_uv=False).sum()
    return _distance(first, second, overlap)


def frechet_distance_of_features(first: np.ndarray, second: np.ndarray) -> float:
    """The same of features `[count, size]`: faster, and exact, where there are fewer images than features."""
    if max(len(first), len(second)) >= first.shape[1]:
        return frechet_distance(Moments.of(first), Moments.of(second))
    centred = [features.astype(np.float64) - features.mean(axis=0, dtype=np.float64) for features in (first, second)]
    scale = np.sqrt((len(first) - 1) * (len(second) - 1))
    overlap = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum() / scale
    traces = [np.square(part).sum() / (len(part) - 1) for part in centred]
    shift = first.mean(axis=0, dtype=np.float64) - second.mean(axis=0, dtype=np.float64)
    return _not_negative(shift @ shift + sum(traces) - 2 * overlap, sum(traces))


def _distance(first: Moments, second: Moments, overlap: float) -> float:
    shift, traces = first.mean - second.mean, np.trace(first.covariance) + np.trace(second.covariance)
    return _not_negative(shift @ shift + traces - 2 * overlap, traces)


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
    value = frechet_distance_of_features(reals, fakes)
    notes = ()
    if min(len(reals), len(fakes)) < reals.shape[1]:
        notes = (f"with fewer images than the {reals.shape[1]} features the value is strongly biased upwards",)
    if len(fakes) < 2 * _PARTS:
        return Measured({"fid": value}, notes=notes)
    parts = np.arange(len(fakes)) % _PARTS
    without = [frechet_distance_of_features(reals, fakes[parts != part]) for part in range(_PARTS)]
    error = np.sqrt((_PARTS - 1) * np.var(without))
    return Measured({"fid": value}, {"fid": float(error)}, notes)
