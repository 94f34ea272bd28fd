"""Frechet distance against closed forms and SciPy, with few images and with badly conditioned covariances."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from pggan_jax.errors import UserError
from pggan_jax.evaluation.frechet import (
    Moments,
    MomentsCollector,
    fid,
    frechet_distance,
    frechet_distance_of_features,
    read_moments,
    write_moments,
)


def features(count, size, seed, spread=1.0, shift=0.0):
    """Correlated, on scales from 1 to `spread`."""
    random = np.random.RandomState(seed)
    mixing = np.linalg.qr(random.standard_normal((size, size)))[0] * np.geomspace(1, spread, size)
    return (random.standard_normal((count, size)) @ mixing.T + shift).astype(np.float64)


def by_scipy(first, second):
    """The product of the roots has real eigenvalues of its own; its root in higher precision where SciPy's loses digits."""
    root = scipy.linalg.sqrtm(first.covariance).real
    inner = root @ second.covariance @ root
    values = np.linalg.eigvalsh((inner + inner.T) / 2).clip(0)
    shift = first.mean - second.mean
    return shift @ shift + np.trace(first.covariance) + np.trace(second.covariance) - 2 * np.sqrt(values).sum()


@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-4])
def test_agrees_with_scipy(spread):
    first, second = (Moments.of(features(400, 24, seed, spread, seed / 3)) for seed in (1, 2))
    assert frechet_distance(first, second) == pytest.approx(by_scipy(first, second), rel=1e-6)
    plain = scipy.linalg.sqrtm(first.covariance @ second.covariance).real.trace()
    shift = first.mean - second.mean
    assert frechet_distance(first, second) == pytest.approx(
        shift @ shift + np.trace(first.covariance) + np.trace(second.covariance) - 2 * plain, rel=1e-6
    )


@pytest.mark.parametrize(("n", "m"), [(20, 20), (20, 35), (60, 30)])
def test_fewer_images_than_features(n, m):
    """Singular covariances; three ways to the same number."""
    first, second = features(n, 64, 1, 0.1), features(m, 64, 2, 0.1, 0.2)
    moments = Moments.of(first), Moments.of(second)
    direct = frechet_distance_of_features(first, second)
    assert direct == pytest.approx(frechet_distance(*moments), rel=1e-6)
    assert direct == pytest.approx(by_scipy(*moments), rel=1e-6)


def test_closed_forms():
    identity = np.eye(5)
    zero = Moments(np.zeros(5), identity)
    assert frechet_distance(zero, zero) == 0
    assert frechet_distance(zero, Moments(np.full(5, 2.0), identity)) == pytest.approx(20)
    scales = np.array([1.0, 2, 3, 4, 5])
    expected = np.square(scales - 1).sum()
    assert frechet_distance(zero, Moments(np.zeros(5), np.diag(scales**2))) == pytest.approx(expected)


def test_symmetric_and_zero_for_the_same():
    first, second = features(50, 16, 1), features(70, 16, 2, 0.5)
    assert frechet_distance_of_features(first, second) == pytest.approx(frechet_distance_of_features(second, first), rel=1e-9)
    assert frechet_distance_of_features(first, first) < 1e-9


def test_sums_in_batches_are_the_moments():
    """Far from 0, where squares would lose everything."""
    values = features(300, 8, 1, shift=1e4).astype(np.float32)
    collector = MomentsCollector()
    for start in range(0, 300, 77):
        collector.add(values[start : start + 77])
    found, expected = collector.finish("x"), Moments.of(values, "x")
    assert (found.count, found.fingerprint) == (300, "x")
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12)
    np.testing.assert_allclose(found.covariance, expected.covariance, rtol=1e-6, atol=1e-9)


def test_files(tmp_path):
    moments = Moments.of(features(30, 4, 1), "weights tf1")
    write_moments(tmp_path / "m.npz", moments)
    again = read_moments(tmp_path / "m.npz")
    np.testing.assert_array_equal(again.covariance, moments.covariance)
    assert (again.count, again.fingerprint) == (30, "weights tf1")
    np.savez(tmp_path / "foreign.npz", mu=moments.mean, sigma=moments.covariance)
    foreign = read_moments(tmp_path / "foreign.npz")
    assert frechet_distance(moments, foreign) < 1e-9
    with pytest.raises(UserError, match="do not compare: use the same weights and --resize"):
        frechet_distance(moments, Moments.of(features(30, 4, 1), "weights clean"))
    for content in ({"mu": moments.mean}, {"mu": moments.mean, "sigma": np.zeros((2, 2))}):
        np.savez(tmp_path / "odd.npz", **content)
        with pytest.raises(UserError, match=r"odd.npz: "):
            read_moments(tmp_path / "odd.npz")


def test_fid_tells_its_uncertainty_and_its_bias():
    reals = features(400, 16, 1)
    runs = [fid(reals, features(400, 16, seed, 0.7, 0.1)) for seed in range(2, 14)]
    spread = np.std([run.values["fid"] for run in runs], ddof=1)
    assert np.mean([run.uncertainty["fid"] for run in runs]) == pytest.approx(spread, rel=0.6)
    assert runs[0].notes == ()
    assert "biased" in fid(features(30, 64, 1), features(30, 64, 2)).notes[0]
