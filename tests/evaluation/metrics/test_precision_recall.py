"""Nearest neighbours, precision and recall against brute force in float64."""

from __future__ import annotations

import numpy as np
import pytest

from pggan_jax.errors import UserError
from pggan_jax.evaluation import knn
from pggan_jax.evaluation.knn import count_within, nearest
from pggan_jax.evaluation.metrics.precision_recall import precision_recall


def points(count, seed, shift=0.0, size=8):
    return np.random.RandomState(seed).standard_normal((count, size)).astype(np.float32) + np.float32(shift)


def slow_distances(first, second):
    return np.sqrt(np.square(first[:, None].astype(np.float64) - second[None].astype(np.float64)).sum(axis=-1))


def slow(reals, fakes):
    def radii(data, k):
        return np.sort(slow_distances(data, data), axis=1)[:, k]

    between = slow_distances(fakes, reals)
    return {
        "precision": (between <= radii(reals, 3)).any(axis=1).mean(),
        "recall": (between <= radii(fakes, 3)[:, None]).any(axis=0).mean(),
        "density": (between <= radii(reals, 5)).sum(axis=1).mean() / 5,
        "coverage": (between.min(axis=0) <= radii(reals, 5)).mean(),
    }


@pytest.fixture(params=[(1024, 8192), (7, 11)])
def pieces(request, monkeypatch):
    monkeypatch.setattr(knn, "ROWS_AT_ONCE", request.param[0])
    monkeypatch.setattr(knn, "COLUMNS_AT_ONCE", request.param[1])


@pytest.mark.usefixtures("pieces")
class TestNearest:
    def test_equals_brute_force(self):
        ours, others = points(30, 1), points(45, 2)
        found, numbers = nearest(ours, others, count=4)
        expected = slow_distances(ours, others)
        np.testing.assert_array_equal(numbers, np.argsort(expected, axis=1)[:, :4])
        np.testing.assert_allclose(found, np.sort(expected, axis=1)[:, :4], rtol=1e-5)

    def test_no_point_is_its_own_neighbour(self):
        ours = points(30, 1)
        found, numbers = nearest(ours, ours, count=2, own=np.arange(len(ours)))
        assert (numbers != np.arange(30)[:, None]).all()
        np.testing.assert_allclose(found, np.sort(slow_distances(ours, ours), axis=1)[:, 1:3], rtol=1e-4)

    def test_points_on_the_surface_are_inside(self):
        """On a lattice every distance is exact, and many are equal."""
        lattice = np.stack(np.meshgrid(np.arange(6), np.arange(5)), -1).reshape(-1, 2).astype(np.float32)
        radii = np.full(30, 2.0)
        expected = (slow_distances(lattice, lattice) <= 2.0).sum(axis=1)
        np.testing.assert_array_equal(count_within(lattice, lattice, radii=radii), expected)


@pytest.mark.usefixtures("pieces")
class TestPrecisionRecall:
    @pytest.mark.parametrize("shift", [0.0, 0.7, 3.0])
    def test_equals_brute_force(self, shift):
        reals, fakes = points(60, 1), points(50, 2, shift)
        found = precision_recall(reals, fakes)
        assert found.values == pytest.approx(slow(reals, fakes))
        share = found.values["precision"]
        assert found.uncertainty["precision"] == pytest.approx(np.sqrt(share * (1 - share) / 50))

    def test_ties(self):
        random = np.random.RandomState(0)
        reals, fakes = (random.randint(0, 4, (60, 2)).astype(np.float32) for _ in range(2))
        assert precision_recall(reals, fakes).values == pytest.approx(slow(reals, fakes))

    def test_few_modes_have_high_precision_and_low_recall(self):
        reals = np.concatenate([points(40, seed, 20.0 * seed) for seed in range(5)])
        fakes = points(200, 9)
        found = precision_recall(reals, fakes).values
        assert found["precision"] > 0.7
        assert found["recall"] < 0.25
        backwards = precision_recall(fakes, reals).values
        assert backwards["precision"] < 0.25
        assert backwards["recall"] > 0.7

    def test_extremes(self):
        reals = points(40, 1)
        same, far = precision_recall(reals, reals).values, precision_recall(reals, points(40, 2, 100.0)).values
        assert same["precision"] == same["recall"] == same["coverage"] == 1
        assert far == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_too_few_images():
    with pytest.raises(UserError, match="needs at least 6 images on each side, not 5"):
        precision_recall(points(10, 1), points(5, 2))
