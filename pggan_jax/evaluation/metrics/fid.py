"""Frechet distance of two sets of features, as if each were normal (Heusel et al. 2017; docs/metrics.md). float64, host."""

from __future__ import annotations

import numpy as np

from pggan_jax.evaluation.inception.feature_stats import PARTS, Moments, Summary, joined
from pggan_jax.evaluation.metric_result import Measured


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


def fid(reals: Summary, fakes: Summary, *, with_uncertainty: bool = True) -> Measured:
    """Of features; the uncertainty is a jackknife over ten parts of the fakes, each about as much work as the value."""
    notes: tuple[str, ...] = ()
    if min(reals.count, fakes.count) < reals.size:
        notes = (f"with fewer images than the {reals.size} features the value is strongly biased upwards",)
    left_out = range(PARTS if with_uncertainty else 0)
    is_small = max(reals.count, fakes.count) < reals.size
    if is_small and reals.features is not None and fakes.features is not None:
        distance, without = _jackknife_by_features(reals.features, fakes.features, left_out)
    else:
        distance, without = _jackknife_by_moments(reals.whole(), fakes.split(), left_out)
    uncertainty = {"fid": float(np.sqrt((len(without) - 1) * np.var(without)))} if without else {}
    return Measured({"fid": distance}, uncertainty, notes)


def _jackknife_by_features(reals: np.ndarray, fakes: np.ndarray, left_out: range) -> tuple[float, list[float]]:
    """The distance of all fakes, and those of all without each of some parts."""
    part = np.arange(len(fakes)) % PARTS
    return _by_features(reals, fakes), [_by_features(reals, fakes[part != one]) for one in left_out]


def _jackknife_by_moments(reals: Moments, parts: list[Moments], left_out: range) -> tuple[float, list[float]]:
    root = _root(reals.covariance)

    def distance(some: list[Moments]) -> float:
        return _by_moments(reals, root, joined(some))

    return distance(parts), [distance(parts[:one] + parts[one + 1 :]) for one in left_out]
