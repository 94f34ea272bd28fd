"""Metrics of images that are not square: the same arithmetic on rectangles, and sizes that are too small."""

from __future__ import annotations

import numpy as np
import pytest

from pggan_jax.evaluation.inception.resize import MODES, resize_for_inception
from pggan_jax.evaluation.metrics import ms_ssim as similarity
from pggan_jax.evaluation.metrics.ms_ssim import WEIGHTS, SimilarityCollector, pair_similarities, scale_weights
from pggan_jax.evaluation.metrics.nearest_neighbors import ShownImages, TrainingImages, neighbors, scaled_pixel_rows
from pggan_jax.evaluation.metrics.swd import PatchCollector, random_directions, swd
from pggan_jax.evaluation.pixels import pixel_rows
from pggan_jax.images import image_shape
from pggan_jax.metric_kinds import METRIC_KINDS
from pggan_jax.networks.laplacian_pyramid import laplacian_pyramid
from tests.helpers import metric_reference


def noise(count, height, width, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (count, height, width, 3)).astype(np.uint8)


def patches_of(images, base_shape, seed=0, resolution=32, **options):
    collector = PatchCollector(image_shape(resolution, base_shape), len(images), seed=seed, **options)
    collector.add(images, 0)
    return collector.finish()


class TestSwd:
    @pytest.mark.parametrize("base_shape", [(3, 4), (2, 16)])
    def test_equals_the_definition(self, base_shape):
        shape = image_shape(32, base_shape)
        images = noise(4, shape.height, shape.width), noise(4, shape.height, shape.width, 1)
        sets = [patches_of(one, base_shape, seed) for seed, one in enumerate(images)]
        values = swd(*sets, seed=5).values
        assert list(values) == ["average", str(shape), str(image_shape(16, base_shape))]
        for level in sets[0].levels:
            directions = random_directions(5, level.resolution, size=147)
            ours = [metric_reference.normalize(one._of_level(level).reshape(-1, 3, 7, 7)) for one in sets]
            assert values[level.label] == pytest.approx(1e3 * metric_reference.sliced_distance(*ours, directions), rel=1e-3)

    def test_patches_come_from_the_levels_of_the_reference(self):
        images = noise(2, 24, 32)
        expected = metric_reference.pyramid(images[0], 12)
        for level, wanted in zip(laplacian_pyramid(images, 12), expected, strict=True):
            np.testing.assert_allclose(level[0], wanted, atol=2e-3)
        collector = patches_of(images, (3, 4))
        for level, wanted in zip(collector.levels, expected, strict=True):
            windows = np.lib.stride_tricks.sliding_window_view(wanted, (7, 7), axis=(0, 1)).reshape(-1, 3, 7, 7)
            patch = collector._of_level(level)[0, 0]
            assert np.abs(windows - patch).max(axis=(1, 2, 3)).min() < 2e-3

    def test_patches_reach_every_border(self):
        rows, columns = np.indices((24, 32))
        images = np.broadcast_to(np.stack([rows, columns, rows], -1).astype(np.uint8), (30, 24, 32, 3))
        (level,) = patches_of(images, (6, 8), resolution=16).levels
        assert str(level) == "24x32"
        patches = patches_of(images, (6, 8), resolution=16)._of_level(level)
        assert (patches[:, :, 0].min(), patches[:, :, 0].max()) == (0, 23)
        assert (patches[:, :, 1].min(), patches[:, :, 1].max()) == (0, 31)


class TestSimilarity:
    @pytest.mark.parametrize(
        ("size", "scales"), [((48, 64), 5), ((24, 32), 4), ((12, 16), 3), ((8, 64), 4), ((16, 16), 5), ((32, 64), 5)]
    )
    def test_scales(self, size, scales):
        weights = scale_weights(*size)
        assert len(weights) == scales
        assert sum(weights) == pytest.approx(1.0, abs=2e-4)
        assert (weights == WEIGHTS) == (scales == 5)

    def test_equals_the_reference_at_five_scales(self):
        first = noise(1, 48, 64)
        second = np.clip(first + np.random.RandomState(3).normal(0, 20, first.shape), 0, 255).astype(np.uint8)
        expected = metric_reference.ms_ssim(first[0], second[0])
        assert float(pair_similarities(first, second)[0]) == pytest.approx(expected, abs=2e-6)

    def test_fewer_scales_are_named(self):
        shape = image_shape(32, (3, 4))
        collector = SimilarityCollector(shape, 4)
        collector.add(np.repeat(noise(2, 24, 32), 2, axis=0), 0)
        result = similarity.ms_ssim(collector.finish(), collector.finish(), shape=shape)
        assert result.values["ms_ssim"] == pytest.approx(1.0, abs=1e-5)
        assert result.notes == ("4 scales instead of 5, as images of 24x32 cannot be halved more often",)
        assert similarity.ms_ssim(np.ones(2), np.ones(2), shape=image_shape(64, (3, 4))).notes == ()


class TestPixels:
    @pytest.mark.parametrize(
        ("size", "reduced"), [((24, 32), (24, 32)), ((48, 64), (24, 32)), ((16, 128), (4, 32)), ((80, 96), (40, 48))]
    )
    def test_rows(self, size, reduced):
        images = noise(2, *size)
        factor = size[0] // reduced[0]
        expected = images.reshape(2, reduced[0], factor, reduced[1], factor, 3).mean(axis=(2, 4))
        np.testing.assert_allclose(pixel_rows(images), expected.reshape(2, -1), rtol=1e-6)

    def test_neighbours(self):
        training, fakes = noise(9, 12, 16), noise(3, 12, 16, 1)
        fakes[1] = training[5]
        shown = ShownImages("neighbors", fakes, lambda number: training[number])
        result = neighbors(TrainingImages([scaled_pixel_rows(training)]), [scaled_pixel_rows(fakes)], shown=shown)
        assert result.lists["neighbors"][1]["training"][0] == 5
        assert result.images["neighbors"].shape == (3 * (12 + 2), 4 * 16 + 2 + 2, 3)


@pytest.mark.parametrize("mode", MODES)
def test_inception_ignores_the_aspect(mode):
    """A rectangle is stretched: constant stripes along the longer side stay constant."""
    images = np.broadcast_to(np.linspace(0, 255, 12, dtype=np.uint8)[None, :, None, None], (1, 12, 48, 3))
    resized = np.asarray(resize_for_inception(np.asarray(images), mode))
    assert resized.shape == (1, 299, 299, 3)
    np.testing.assert_allclose(resized, np.broadcast_to(resized[:, :, :1], resized.shape), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "resolution", "base_shape", "problem"),
    [
        ("swd", 16, (2, 16), ""),
        ("swd", 8, (3, 4), "swd needs a resolution of at least 16, not 8, that is 6x8"),
        ("swd", 8, (4, 4), "swd needs images of at least 16x16, not 8x8"),
        ("swd", 64, (1, 16), "swd needs at least 7x7 pixels at its smallest level, not the 4x64 of 16x256"),
        ("swd_small", 4, (2, 16), "swd_small needs at least 3x3 pixels at its smallest level, not the 2x16 of 2x16"),
        ("swd_small", 8, (2, 16), ""),
        ("ms_ssim", 16, (2, 16), ""),
        ("ms_ssim", 8, (2, 16), "ms_ssim needs a resolution of at least 16, not 8, that is 4x32"),
        ("fid", 4, (1, 8), ""),
    ],
)
def test_what_is_too_small(name, resolution, base_shape, problem):
    assert METRIC_KINDS[name].problem_of(image_shape(resolution, base_shape)) == problem
