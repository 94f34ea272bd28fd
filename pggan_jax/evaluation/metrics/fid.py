"""Frechet Inception distance (Heusel et al. 2017; docs/metrics.md).

The features of each set are modelled as a normal distribution. Computed in float64 on the host.
"""

from __future__ import annotations

import numpy as np

from pggan_jax.evaluation.inception.feature_stats import JACKKNIFE_GROUPS, FeatureStats, FeatureSummary, merge_stats
from pggan_jax.evaluation.metric import Metric
from pggan_jax.evaluation.metric_result import MetricResult
from pggan_jax.metric_kinds import MetricKind


def frechet_distance(first: FeatureStats, second: FeatureStats) -> float:
    """Compute |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)).

    The trace of the last term is the sum of the singular values of S1^(1/2) S2^(1/2).
    """
    return _distance_by_stats(first, _root(first.covariance), second)


def _distance_by_stats(first: FeatureStats, root: np.ndarray, second: FeatureStats) -> float:
    overlap = np.linalg.svd(root.T @ _root(second.covariance), compute_uv=False).sum()
    shift, traces = first.mean - second.mean, np.trace(first.covariance) + np.trace(second.covariance)
    return _clip_rounding(shift @ shift + traces - 2 * overlap, traces)


def _distance_by_features(first: np.ndarray, second: np.ndarray) -> float:
    """Compute the same from the features: faster, and exact for fewer images than features."""
    centred = [features.astype(np.float64) - features.mean(axis=0, dtype=np.float64) for features in (first, second)]
    scale = np.sqrt((len(first) - 1) * (len(second) - 1))
    overlap = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum() / scale
    traces = [np.square(part).sum() / (len(part) - 1) for part in centred]
    shift = first.mean(axis=0, dtype=np.float64) - second.mean(axis=0, dtype=np.float64)
    return _clip_rounding(shift @ shift + sum(traces) - 2 * overlap, sum(traces))


def _clip_rounding(distance: float, scale: float) -> float:
    """Clip a small negative value, which is rounding, to 0; a larger one is an error."""
    if distance < -1e-3 * scale:
        raise ValueError(f"the Frechet distance is {distance}, which is negative beyond rounding")
    return float(max(distance, 0.0))


def _root(covariance: np.ndarray) -> np.ndarray:
    """Return L with L L^T = covariance, without directions of zero variance up to rounding."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > len(values) * np.finfo(np.float64).eps * values.max(initial=0.0)
    return vectors[:, kept] * np.sqrt(values[kept])


def fid(reals: FeatureSummary, fakes: FeatureSummary, *, with_uncertainty: bool = True) -> MetricResult:
    """Compute the Frechet distance of two sets of features.

    The uncertainty is a jackknife over ten groups of the fakes; each group costs about as much as the value.
    """
    notes: tuple[str, ...] = ()
    if min(reals.count, fakes.count) < reals.size:
        notes = (f"the value is strongly biased upwards: there are fewer images than the {reals.size} features",)
    omitted = range(JACKKNIFE_GROUPS if with_uncertainty else 0)
    is_small = max(reals.count, fakes.count) < reals.size
    if is_small and reals.features is not None and fakes.features is not None:
        distance, without = _jackknife_by_features(reals.features, fakes.features, omitted)
    else:
        distance, without = _jackknife_by_stats(reals.whole(), fakes.split(), omitted)
    uncertainty = {"fid": float(np.sqrt((len(without) - 1) * np.var(without)))} if without else {}
    return MetricResult({"fid": distance}, uncertainty, notes)


def _jackknife_by_features(reals: np.ndarray, fakes: np.ndarray, omitted: range) -> tuple[float, list[float]]:
    """Return the distance of all fakes, and the distances without each of the omitted groups."""
    group = np.arange(len(fakes)) % JACKKNIFE_GROUPS
    return _distance_by_features(reals, fakes), [_distance_by_features(reals, fakes[group != one]) for one in omitted]


def _jackknife_by_stats(reals: FeatureStats, groups: list[FeatureStats], omitted: range) -> tuple[float, list[float]]:
    root = _root(reals.covariance)

    def distance(some: list[FeatureStats]) -> float:
        return _distance_by_stats(reals, root, merge_stats(some))

    return distance(groups), [distance(groups[:one] + groups[one + 1 :]) for one in omitted]


METRIC = Metric(
    MetricKind(
        "fid",
        help="Frechet distance of Inception features",
        headline="fid",
        counterpart="fid_sound",
        default_images=50000,
        max_reals=200000,
        needs_inception=True,
        during_training=True,
    ),
    compute=lambda reals, fakes, context: fid(
        reals["inception"].summary, fakes["inception"].summary, with_uncertainty=context.with_uncertainty
    ),
    inception=frozenset({"summary"}),
)
