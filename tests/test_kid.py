"""Kernel distance against a double loop."""

from __future__ import annotations

import numpy as np
import pytest

from pggan_jax.evaluation.kid import kid, mmd


def features(count, seed, shift=0.0):
    return np.random.RandomState(seed).standard_normal((count, 6)).astype(np.float32) + np.float32(shift)


def slow_mmd(first, second):
    kernel = lambda x, y: (float(np.dot(x.astype(np.float64), y.astype(np.float64))) / len(x) + 1) ** 3  # noqa: E731
    n, m = len(first), len(second)
    own = [
        sum(kernel(points[i], points[j]) for i in range(len(points)) for j in range(len(points)) if i != j)
        for points in (first, second)
    ]
    cross = sum(kernel(x, y) for x in first for y in second)
    return own[0] / (n * (n - 1)) + own[1] / (m * (m - 1)) - 2 * cross / (n * m)


@pytest.mark.parametrize(("n", "m"), [(12, 12), (9, 17)])
def test_equals_the_double_loop(n, m):
    first, second = features(n, 1), features(m, 2, 0.3)
    assert mmd(first, second) == pytest.approx(slow_mmd(first, second), rel=1e-9)


def test_pieces_change_nothing(monkeypatch):
    first, second = features(50, 1), features(40, 2)
    whole = mmd(first, second)
    monkeypatch.setattr("pggan_jax.evaluation.kid._ROWS_AT_ONCE", 7)
    assert mmd(first, second) == pytest.approx(whole, rel=1e-12)


def test_one_set_twice_is_a_little_below_zero():
    """Unbiased: the cross term counts each point with itself."""
    points = features(40, 1)
    assert mmd(points, points) == pytest.approx(slow_mmd(points, points), rel=1e-9)
    assert mmd(points, points) < 0


def test_subsets(monkeypatch):
    monkeypatch.setattr("pggan_jax.evaluation.kid.SUBSET_SIZE", 100)
    reals, near, far = features(300, 1), features(300, 2), features(300, 3, 1.0)
    same, other = kid(reals, near, 0), kid(reals, far, 0)
    assert kid(reals, near, 0).values == same.values
    assert kid(reals, near, 1).values != same.values
    assert abs(same.values["kid"]) < 0.1 * other.values["kid"]
    assert other.values["kid"] == pytest.approx(other.values["full"], rel=0.1)
    assert other.uncertainty["kid"] == pytest.approx(other.values["spread"] / 10)
    assert same.notes == ()
    assert "subsets of 60" in kid(reals[:60], near, 0).notes[0]
