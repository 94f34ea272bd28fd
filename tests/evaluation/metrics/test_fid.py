"""Frechet distance against closed forms and SciPy; few images, ill-conditioned covariances."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from pggan_jax.evaluation.inception.feature_stats import FeatureStats, FeatureSummary
from pggan_jax.evaluation.metrics import fid as fid_module
from pggan_jax.evaluation.metrics.fid import fid, frechet_distance
from tests.helpers.feature_samples import features


def frechet_distance_of_features(first, second):
    return fid(FeatureSummary.of(first), FeatureSummary.of(second)).values["fid"]


def by_scipy(first, second):
    """The distance by a symmetric product of roots, which is more precise than SciPy's root of the product."""
    root = scipy.linalg.sqrtm(first.covariance).real
    inner = root @ second.covariance @ root
    values = np.linalg.eigvalsh((inner + inner.T) / 2).clip(0)
    shift = first.mean - second.mean
    return shift @ shift + np.trace(first.covariance) + np.trace(second.covariance) - 2 * np.sqrt(values).sum()


@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-4])
def test_agrees_with_scipy(spread):
    first, second = (FeatureStats.of(features(400, 24, seed, spread, seed / 3)) for seed in (1, 2))
    assert frechet_distance(first, second) == pytest.approx(by_scipy(first, second), rel=1e-6)
    plain = scipy.linalg.sqrtm(first.covariance @ second.covariance).real.trace()
    shift = first.mean - second.mean
    assert frechet_distance(first, second) == pytest.approx(
        shift @ shift + np.trace(first.covariance) + np.trace(second.covariance) - 2 * plain, rel=1e-6
    )


@pytest.mark.parametrize(("n", "m"), [(20, 20), (20, 35), (60, 30)])
def test_fewer_images_than_features(n, m):
    """Singular covariances: three computations of the same value."""
    first, second = features(n, 64, 1, 0.1), features(m, 64, 2, 0.1, 0.2)
    moments = FeatureStats.of(first), FeatureStats.of(second)
    direct = frechet_distance_of_features(first, second)
    assert direct == pytest.approx(frechet_distance(*moments), rel=1e-6)
    assert direct == pytest.approx(by_scipy(*moments), rel=1e-6)


def test_closed_forms():
    identity = np.eye(5)
    zero = FeatureStats(2, np.zeros(5), identity)
    assert frechet_distance(zero, zero) == 0
    assert frechet_distance(zero, FeatureStats(2, np.full(5, 2.0), identity)) == pytest.approx(20)
    scales = np.array([1.0, 2, 3, 4, 5])
    expected = np.square(scales - 1).sum()
    assert frechet_distance(zero, FeatureStats(2, np.zeros(5), np.diag(scales**2))) == pytest.approx(expected)


def test_symmetric_and_zero_for_the_same():
    first, second = features(50, 16, 1), features(70, 16, 2, 0.5)
    assert frechet_distance_of_features(first, second) == pytest.approx(frechet_distance_of_features(second, first), rel=1e-9)
    assert frechet_distance_of_features(first, first) < 1e-9


def test_uncertainty_and_note_about_the_bias():
    """The deviation over 400 draws has an error of 3.5 %, 1 / sqrt(2 * 399); a jackknife is exact for means only.

    The tolerance is three times the former and 4 % for the latter.
    """
    reals = FeatureSummary.of(features(400, 16, 1))
    runs = [fid(reals, FeatureSummary.of(features(400, 16, seed, 0.7, 0.1))) for seed in range(2, 402)]
    spread = np.std([run.values["fid"] for run in runs], ddof=1)
    assert np.mean([run.uncertainty["fid"] for run in runs]) == pytest.approx(spread, rel=0.15)
    assert runs[0].notes == ()
    assert "biased" in fid(FeatureSummary.of(features(30, 64, 1)), FeatureSummary.of(features(30, 64, 2))).notes[0]


@pytest.mark.parametrize("count", [400, 12])
def test_value_without_uncertainty(count, monkeypatch):
    """Without uncertainty the value is the same, and one distance is computed; by statistics and by features."""
    reals, fakes = (FeatureSummary.of(features(count, 16, seed)) for seed in (1, 2))
    both = fid(reals, fakes)
    done, by = [], {400: "_distance_by_stats", 12: "_distance_by_features"}[count]
    measure = getattr(fid_module, by)
    monkeypatch.setattr(fid_module, by, lambda *sets: done.append(by) or measure(*sets))
    alone = fid(reals, fakes, with_uncertainty=False)
    assert (alone.values, alone.uncertainty, len(done)) == (both.values, {}, 1)
