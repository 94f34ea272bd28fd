"""Nearest training images and the memorisation ratio, by pixels and by features."""

from __future__ import annotations

import numpy as np
import pytest

from pggan_jax.evaluation.knn import nearest
from pggan_jax.evaluation.metrics.nearest_neighbors import ShownImages, TrainingImages, neighbors, scaled_pixel_rows
from tests.helpers.image_batches import noise

SIDE = 16


@pytest.fixture
def digits(digits):
    return digits[0]


def as_features(images):
    """Replacement of Inception features: 300 positive numbers, close together and far from the origin."""
    projection = np.random.RandomState(1).normal(size=(SIDE * SIDE, 300)) / SIDE
    return (10 + np.maximum(0, images.reshape(len(images), -1) / 255 @ projection)).astype(np.float32)


def brute_force(points, others, *, is_same_set=False):
    """All distances in float64."""
    distances = np.linalg.norm(points.astype(np.float64)[:, None] - others.astype(np.float64), axis=-1)
    if is_same_set:
        np.fill_diagonal(distances, np.inf)
    return distances


SPACES = pytest.mark.parametrize("rows_of", [scaled_pixel_rows, as_features])


def compare(rows_of, training, fakes, held_out=None):
    reals = TrainingImages([rows_of(training)], None if held_out is None else [rows_of(held_out)])
    return neighbors(reals, [rows_of(fakes)], shown=ShownImages("found", fakes[:4], lambda number: training[number]))


class TestRows:
    def test_distance_is_the_rms_difference_of_pixels(self):
        images = noise(2, SIDE)
        rows = scaled_pixel_rows(images)
        expected = np.sqrt(np.square(images[0].astype(float) - images[1]).mean())
        assert np.linalg.norm(rows[0] - rows[1]) == pytest.approx(expected, rel=1e-5)
        large = np.repeat(np.repeat(images, 4, axis=1), 4, axis=2)
        np.testing.assert_allclose(
            scaled_pixel_rows(large), scaled_pixel_rows(np.repeat(np.repeat(images, 2, axis=1), 2, axis=2)), atol=1e-4
        )


class TestNeighbors:
    @SPACES
    def test_brute_force(self, digits, rows_of):
        training, fakes, held_out = digits[:300], digits[300:340], digits[340:400]
        of_fakes = brute_force(rows_of(fakes), rows_of(training))
        of_reals = brute_force(rows_of(training), rows_of(training), is_same_set=True).min(axis=1).mean()
        of_held_out = brute_force(rows_of(held_out), rows_of(training)).min(axis=1).mean()

        alone = compare(rows_of, training, fakes)
        assert alone.values == pytest.approx(
            {"ratio": of_fakes.min(axis=1).mean() / of_reals, "fakes": of_fakes.min(axis=1).mean(), "reals": of_reals}, rel=1e-5
        )
        found = compare(rows_of, training, fakes, held_out)
        expected = {"ratio": alone.values["fakes"] / of_held_out, "held_out": of_held_out}
        assert found.values == pytest.approx({**alone.values, **expected}, rel=1e-5)

        assert list(found.images) == ["found"]
        illustration = found.images["found"]
        for row in range(4):
            tiles = [fakes[row], *training[np.argsort(of_fakes[row])[:3]]]
            for tile, left in zip(tiles, (0, 18, 34, 50), strict=True):
                np.testing.assert_array_equal(illustration[row * 18 : row * 18 + SIDE, left : left + SIDE], tile)

    def test_illustration(self, digits):
        illustration = compare(scaled_pixel_rows, digits[:100], digits[100:120]).images["found"]
        assert illustration.shape == (4 * (SIDE + 2), SIDE + 2 + 3 * SIDE + 2, 1)
        assert not illustration[:, SIDE : SIDE + 2].any()

    @SPACES
    @pytest.mark.parametrize("has_held_out", [False, True])
    def test_copies_have_a_small_ratio(self, digits, rows_of, has_held_out):
        training, others, held_out = digits[:900], digits[900:1300], digits[1300:] if has_held_out else None
        grain = np.random.RandomState(0).randint(-3, 4, (50, SIDE, SIDE, 1))
        rough = np.clip(training[100:150].astype(int) + grain, 0, 255).astype(np.uint8)
        assert compare(rows_of, training, training[100:150], held_out).values["ratio"] == 0
        assert compare(rows_of, training, rough, held_out).values["ratio"] < 0.2
        fresh = compare(rows_of, training, others, held_out)
        assert fresh.values["ratio"] == pytest.approx(1, abs=0.25)

    @SPACES
    def test_other_reals_score_one_against_held_out_ones(self, digits, rows_of):
        mixed = digits[np.random.RandomState(0).permutation(len(digits))]
        found = compare(rows_of, mixed[:900], mixed[900:1300], mixed[1300:])
        assert abs(found.values["ratio"] - 1) < 3 * found.uncertainty["ratio"] < 0.1

    @SPACES
    def test_held_out_images_that_were_trained_on(self, digits, rows_of):
        training, fakes = digits[:300], digits[300:340]
        some = compare(rows_of, training, fakes, digits[290:320])
        clean = compare(rows_of, training, fakes, digits[300:320])
        assert np.isfinite(list(some.values.values())).all()
        assert some.values["held_out"] == pytest.approx(clean.values["held_out"] * 20 / 30, rel=1e-5)
        assert some.notes == ("10 of 30 held-out images are training images: the ratio is too large",)
        assert clean.notes == ()
        for images in (fakes, training[:40]):
            same = compare(rows_of, training, images, training[20:60])
            assert same.values["held_out"] == 0
            assert np.isfinite([*same.values.values(), *same.uncertainty.values()]).all()

    def test_reals_are_compared_once(self, digits, monkeypatch):
        calls = []

        def counted(rows, *words, **more):
            calls.append(len(rows))
            return nearest(rows, *words, **more)

        monkeypatch.setattr("pggan_jax.evaluation.metrics.nearest_neighbors.nearest", counted)
        reals = TrainingImages([scaled_pixel_rows(digits[:200])], [scaled_pixel_rows(digits[200:260])])
        for first in (300, 330):
            fakes = digits[first : first + 30]
            shown = ShownImages("found", fakes[:2], lambda number: digits[number])
            neighbors(reals, [scaled_pixel_rows(fakes)], shown=shown)
        assert sorted(calls) == [30, 30, 60, 200]
