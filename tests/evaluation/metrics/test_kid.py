"""Kernel distance against a double loop."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from pggan_jax.evaluation.metrics import kid as module
from pggan_jax.evaluation.metrics.kid import KernelDistance, mmd


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


def test_block_size_does_not_change_values(monkeypatch):
    first, second = features(50, 1), features(40, 2)
    whole, measured = mmd(first, second), KernelDistance()(first, second, seed=0)
    monkeypatch.setattr(module, "_BLOCK", 7)
    assert mmd(first, second) == pytest.approx(whole, rel=1e-12)
    assert KernelDistance()(first, second, seed=0).values == pytest.approx(measured.values, rel=1e-9)
    assert KernelDistance()(first, second, seed=0).uncertainty == pytest.approx(measured.uncertainty, rel=1e-9)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_square_of_the_images():
    """A kernel of 9,000 x 9,000 would take 648 MB."""
    points = features(9000, 1)
    tracemalloc.start()
    mmd(points, points)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6


def test_a_set_with_itself_is_slightly_negative():
    """Unbiased: the cross term counts each point with itself."""
    points = features(40, 1)
    assert mmd(points, points) == pytest.approx(slow_mmd(points, points), rel=1e-9)
    assert mmd(points, points) < 0


def slow_kid(reals, fakes, seed, *, subsets, most):
    """Subset by subset."""
    random, size = np.random.RandomState(seed), min(most, len(reals), len(fakes))
    draws = []
    for _ in range(subsets):
        ours, theirs = (random.choice(len(points), size, replace=False) for points in (reals, fakes))
        draws.append(slow_mmd(reals[ours], fakes[theirs]))
    return {"kid": np.mean(draws), "spread": np.std(draws)}


@pytest.mark.parametrize("count", [pytest.param(1010, marks=pytest.mark.slow), 60])
def test_the_published_protocol(count):
    """100 subsets of 1,000, or of all images if there are fewer; the numbers are those of the paper."""
    reals, fakes = features(count, 1), features(count + 5, 2, 0.3)
    size = {1010: 1000, 60: 60}[count]
    random = np.random.RandomState(3)
    kernel = lambda x, y: (x.astype(np.float64) @ y.astype(np.float64).T / x.shape[1] + 1) ** 3  # noqa: E731
    own, theirs, cross = kernel(reals, reals), kernel(fakes, fakes), kernel(reals, fakes)
    np.fill_diagonal(own, 0.0)
    np.fill_diagonal(theirs, 0.0)
    draws = []
    for _ in range(100):
        a, b = (np.isin(np.arange(len(points)), random.choice(len(points), size, replace=False)) for points in (reals, fakes))
        draws.append((a @ own @ a + b @ theirs @ b) / (size * (size - 1)) - 2 * a @ cross @ b / size**2)
    # The uncertainty is tested below, and takes long.
    measured = KernelDistance(with_uncertainty=count == 60)(reals, fakes, seed=3)
    assert measured.values["kid"] == pytest.approx(np.mean(draws), rel=1e-9)
    assert measured.values["spread"] == pytest.approx(np.std(draws), rel=1e-7)


class TestSubsets:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        monkeypatch.setattr(module, "SUBSET_SIZE", 100)

    def test_equal_brute_force(self, monkeypatch):
        monkeypatch.setattr(module, "SUBSET_SIZE", 12)
        monkeypatch.setattr(module, "SUBSETS", 10)
        for count in (30, 60):
            # The larger take the subsets one by one when nothing else is wanted.
            reals, fakes = features(count, 1), features(count + 10, 2, 0.3)
            slow = slow_kid(reals, fakes, 3, subsets=10, most=12)
            measured = KernelDistance()(reals, fakes, seed=3)
            assert {name: measured.values[name] for name in slow} == pytest.approx(slow, rel=1e-9)
            assert measured.values["full"] == pytest.approx(slow_mmd(reals, fakes), rel=1e-9)
            brief = KernelDistance(with_uncertainty=False)(reals, fakes, seed=3)
            assert brief.values == pytest.approx(slow, rel=1e-9)
            assert brief.uncertainty == {}

    def test_equal_and_different_distributions(self):
        distance = KernelDistance()
        reals, near, far = features(300, 1), features(300, 2), features(300, 3, 1.0)
        same, other = distance(reals, near, seed=0), distance(reals, far, seed=0)
        assert distance(reals, near, seed=0).values == same.values
        assert distance(reals, near, seed=1).values != same.values
        assert abs(same.values["kid"]) < 0.1 * other.values["kid"]
        assert other.values["kid"] == pytest.approx(other.values["full"], rel=0.1)
        assert same.notes == ()
        assert "subsets of 60" in distance(reals[:60], near, seed=0).notes[0]

    def test_kept_means_belong_to_the_reals(self, monkeypatch):
        reals, others, fakes = features(120, 1), features(120, 2), features(110, 3)
        distance, counted = KernelDistance(), []
        own_mean = module._own_mean
        monkeypatch.setattr(module, "_own_mean", lambda points, parts: counted.append(points) or own_mean(points, parts))
        for ours, theirs, seed, expected in (
            (reals, fakes, 0, 2),
            (reals, features(110, 4), 0, 1),
            (others, fakes, 0, 2),
            (others, fakes, 1, 2),
            (others, fakes[:100], 1, 2),
        ):
            counted.clear()
            found = distance(ours, theirs, seed=seed)
            assert len(counted) == expected
            assert found == KernelDistance()(ours, theirs, seed=seed)

    @pytest.mark.parametrize(
        ("count", "shift"), [(60, 0.0), (60, 0.5), *(pytest.param(300, shift, marks=pytest.mark.slow) for shift in (0.0, 0.5))]
    )
    def test_uncertainty_is_the_deviation_over_independent_draws(self, count, shift):
        """With fewer images than a subset takes, and with more, whose subsets overlap.

        The deviation over 100 draws has an error of 7 %. A jackknife is exact for the linear part of the distance, which is
        0 for equal distributions: there it is too large, never too small.
        """
        draws = [
            KernelDistance()(features(count, 2 * number), features(count, 2 * number + 1, shift), seed=number)
            for number in range(100)
        ]
        for name in ("kid", "full"):
            scatter = np.std([draw.values[name] for draw in draws])
            reported = np.mean([draw.uncertainty[name] for draw in draws])
            low, high = (0.8, 1.35) if shift else (1.0, 1.9)
            assert low < reported / scatter < high
