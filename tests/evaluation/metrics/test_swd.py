"""SWD against golden values of the authors' code and a slow reference; invariances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from pggan_jax.errors import UserError
from pggan_jax.evaluation.metrics import swd as module
from pggan_jax.evaluation.metrics.swd import PatchCollector, patch_corners, random_directions, random_key, sliced_distances, swd
from pggan_jax.images import ImageShape, image_shape
from pggan_jax.networks.laplacian_pyramid import laplacian_pyramid
from tests.helpers import metric_reference
from tests.helpers.image_batches import noise


def golden_image():
    y, x, c = np.mgrid[:32, :32, :3]
    return ((5 * x + 3 * y + 7 * c + x * y) % 256).astype(np.uint8)


def textures(count, side, seed=0):
    """Smooth blobs with some noise, similar to photographs."""
    rough = np.random.RandomState(seed).standard_normal((count, side, side, 3))
    soft = ndimage.gaussian_filter(rough, (0, 2, 2, 0)) * 8
    return np.clip(128 + 40 * soft + 8 * rough, 0, 255).astype(np.uint8)


def collect(images, seed=0, batch=None, **options):
    collector = PatchCollector(ImageShape(images.shape[1], *images.shape[1:3]), len(images), seed=seed, **options)
    for start in range(0, len(images), batch or len(images)):
        collector.add(images[start : start + (batch or len(images))], start)
    return collector.finish()


def distance(reals, fakes, seeds=(0, 1), **options):
    return swd(collect(reals, seeds[0], **options), collect(fakes, seeds[1], **options), seed=5).values


class TestPyramid:
    def test_golden(self, reference):
        levels = [np.asarray(level)[0] for level in laplacian_pyramid(golden_image()[None], 16)]
        for level, golden in zip(levels, reference["golden_metrics"]["laplacian_pyramid"]["levels"], strict=True):
            assert level.shape == (*golden["shape"][2:], 3)
            assert level.sum(dtype=np.float64) == pytest.approx(golden["sum"], rel=1e-4)
            assert np.abs(level).sum(dtype=np.float64) == pytest.approx(golden["abs_sum"], rel=1e-5)
            np.testing.assert_allclose(level[0, :4, 0], golden["v000_0to3"], atol=2e-4)
            assert level[-1, -1, -1] == pytest.approx(golden["v_last"], abs=2e-4)

    def test_equals_the_slow_reference(self):
        images = noise(2, 64)
        levels = laplacian_pyramid(images, 16)
        for index, image in enumerate(images):
            for level, expected in zip(levels, metric_reference.pyramid(image, 16), strict=True):
                np.testing.assert_allclose(level[index], expected, atol=2e-3)

    def test_adds_up_to_the_image(self):
        image = noise(1, 64)
        *details, result = map(np.asarray, laplacian_pyramid(image, 16))
        for detail in reversed(details):
            result = np.stack([metric_reference.enlarge(result[0])]) + detail
        np.testing.assert_allclose(result, image, atol=1e-3)

    def test_constant_images_have_no_detail(self):
        *details, last = laplacian_pyramid(np.full((1, 64, 64, 3), 77, np.uint8), 16)
        for detail in details:
            np.testing.assert_allclose(detail, 0, atol=1e-4)
        np.testing.assert_allclose(last, 77, atol=1e-4)


class TestPatches:
    def test_corners_cover_the_image_uniformly(self):
        for side, patch in ((16, 7), (32, 7), (4, 3)):
            corners = np.asarray(
                patch_corners(
                    np.arange(64, dtype=np.uint32), random_key(3), resolution=side, positions=np.full(2, side - patch + 1)
                )
            ).reshape(-1, 2)
            assert corners.min(axis=0).tolist() == [0, 0]
            assert corners.max(axis=0).tolist() == [side - patch] * 2
            assert len(np.unique(corners, axis=0)) == (side - patch + 1) ** 2
            counts = np.bincount(corners[:, 0])
            assert counts.min() > 0.8 * counts.mean()

    def test_seeds_give_different_corners(self):
        """The seeds of the two sides are 2 * seed and 2 * seed + 1."""
        images = noise(2, 16)
        seeds = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**33 - 1)
        places = [collect(images, seed=seed)._of_level(image_shape(16)).tobytes() for seed in seeds]
        assert len(set(places)) == len(seeds)

    def test_are_cut_at_the_corners(self):
        images = noise(3, 32)
        levels = [np.asarray(level) for level in laplacian_pyramid(images, 16)]
        collector = collect(images, seed=4)
        for side, level in zip((32, 16), levels, strict=True):
            corners = np.asarray(
                patch_corners(np.arange(3, dtype=np.uint32), random_key(4), resolution=side, positions=np.full(2, side - 6))
            )
            patches = collector._of_level(image_shape(side))
            for number in range(3):
                for patch, (y, x) in zip(patches[number], corners[number], strict=True):
                    np.testing.assert_allclose(patch, level[number, y : y + 7, x : x + 7].transpose(2, 0, 1), atol=1e-4)

    def test_do_not_depend_on_batches_or_storage(self):
        """Small images are stored, of large ones only the patches."""
        images = noise(70, 32)
        expected = {side: collect(images)._of_level(image_shape(side)) for side in (32, 16)}
        for batch in (1, 33, 64):
            for keeps_images in (True, False):
                collector = PatchCollector(image_shape(32), len(images), seed=0)
                collector._keeps_images = keeps_images
                collector._images, collector._patches = None, {level: collector._new_patches() for level in collector.levels}
                for start in range(0, len(images), batch):
                    collector.add(images[start : start + batch], start)
                for side in (32, 16):
                    np.testing.assert_array_equal(collector.finish()._of_level(image_shape(side)), expected[side])

    def test_are_stored_if_smaller_than_the_images(self):
        assert PatchCollector(image_shape(256), 1, seed=0)._keeps_images
        assert not PatchCollector(image_shape(1024), 1, seed=0)._keeps_images

    def test_normalized_by_channel(self):
        images = textures(20, 32) // np.array([1, 2, 4], np.uint8)
        patches = collect(images).normalized(image_shape(32)).reshape(-1, 3, 49)
        np.testing.assert_allclose(patches.mean(axis=(0, 2)), 0, atol=1e-4)
        np.testing.assert_allclose(patches.std(axis=(0, 2)), 1, atol=1e-4)
        plain = collect(images)
        np.testing.assert_allclose(
            plain.normalized(image_shape(16)),
            metric_reference.normalize(plain._of_level(image_shape(16)).reshape(-1, 3, 7, 7).astype(np.float64)),
            atol=1e-4,
        )


class TestSlicedDistance:
    def test_golden(self, reference):
        random = np.random.RandomState(0)
        first = random.randn(1000, 147).astype(np.float32)
        second = (1.5 * random.randn(1000, 147) + 0.2).astype(np.float32)
        blocks = [random.randn(147, 128) for _ in range(4)]
        directions = np.concatenate([block / np.linalg.norm(block, axis=0) for block in blocks], axis=1)
        found = sliced_distances(first, second, directions=directions.T.astype(np.float32)).mean()
        assert found == pytest.approx(reference["golden_metrics"]["sliced_wasserstein"]["value"], rel=1e-5)

    def test_equals_the_slow_reference(self):
        first, second = textures(1, 64)[0, :, :, 0].astype(np.float32), noise(1, 64)[0, :, :, 0].astype(np.float32)
        directions = random_directions(1, 64, size=64, count=40)
        found = sliced_distances(first, second, directions=directions)
        assert found.mean() == pytest.approx(metric_reference.sliced_distance(first, second, directions), rel=1e-5)

    def test_host_and_device_agree(self):
        first, second = (np.random.RandomState(seed).randn(500, 147).astype(np.float32) * (seed + 1) for seed in range(2))
        directions = random_directions(1, 64, size=147, count=16)
        on_device = np.asarray(module._distances_on_device(first, second, directions))
        np.testing.assert_allclose(on_device, sliced_distances(first, second, directions=directions), rtol=1e-5)

    def test_identical_sets_have_distance_0(self):
        points = np.random.RandomState(0).randn(300, 147).astype(np.float32)
        shuffled = points[np.random.RandomState(1).permutation(300)]
        assert sliced_distances(points, shuffled, directions=random_directions(0, 16, size=147)).max() < 1e-6

    def test_a_shift_is_its_projection(self):
        points = np.random.RandomState(0).randn(300, 147).astype(np.float32)
        directions = random_directions(0, 16, size=147)
        found = sliced_distances(points, points + 2.0, directions=directions)
        np.testing.assert_allclose(found, 2 * np.abs(directions.sum(axis=1)), rtol=1e-4, atol=1e-5)

    def test_directions_are_unit_vectors_of_every_orientation(self):
        directions = random_directions(0, 16, size=147)
        np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-5)
        assert np.abs(directions.mean(axis=0)).max() < 0.02
        assert not np.array_equal(directions, random_directions(0, 32, size=147))

    def test_sets_of_different_sizes_are_refused(self):
        with pytest.raises(ValueError, match="3 and 2 points"):
            sliced_distances(np.zeros((3, 4), np.float32), np.zeros((2, 4), np.float32), directions=np.ones((1, 4), np.float32))


class TestSwd:
    def test_golden_end_to_end(self, reference):
        golden = reference["golden_metrics"]["swd_end_to_end"]
        random = np.random.RandomState(7)
        reals = random.randint(0, 256, size=(32, 3, 32, 32)).astype(np.uint8).transpose(0, 2, 3, 1)
        columns = 2 * np.arange(32)[None, None, :, None]
        fakes = np.clip(reals // 2 + columns, 0, 255).astype(np.uint8)
        found = [distance(reals, fakes, (seed, seed + 10)) for seed in range(4)]
        for name, expected in zip(("32", "16", "average"), golden["fakes_vs_reals"], strict=True):
            assert np.mean([values[name] for values in found]) == pytest.approx(expected, rel=0.05)

    def test_the_average_is_that_of_the_levels(self):
        values = distance(textures(20, 64), textures(20, 64, 1))
        assert list(values) == ["average", "64", "32", "16"]
        assert values["average"] == pytest.approx(np.mean([values["64"], values["32"], values["16"]]))

    def test_uncertainty_is_the_deviation_over_draws(self):
        """Draws of images, patches and directions."""
        sets = [(collect(textures(24, 16, 2 * draw), draw), collect(noise(24, 16, draw), 50 + draw)) for draw in range(10)]
        runs = [swd(reals, fakes, seed=seed) for seed, (reals, fakes) in enumerate(sets)]
        spread = np.std([run.values["16"] for run in runs], ddof=1)
        reported = np.sqrt(np.mean([run.uncertainty["16"] ** 2 for run in runs]))
        assert spread / 2 < reported < 2 * spread

    def test_controls_score_badly(self):
        reals, others = textures(64, 32), textures(64, 32, 1)
        floor = distance(reals, others)["average"]
        shuffled = np.random.default_rng(0).permuted(others.reshape(64, -1, 3), axis=1).reshape(others.shape)
        for bad in (np.full_like(others, 90), np.repeat(others[:1], 64, axis=0), noise(64, 32), shuffled):
            assert distance(reals, bad)["average"] > 2 * floor

    def test_fine_noise_changes_the_finest_level_most(self):
        """Wide, strong blobs with weak grain: the coarse level hardly changes."""
        rough = np.random.RandomState(3).standard_normal((64, 64, 64, 3))
        soft = ndimage.gaussian_filter(rough, (0, 4, 4, 0)) * 16
        sharp = np.clip(128 + 50 * soft + 4 * rough, 0, 255).astype(np.uint8)
        checker = np.clip(sharp + 12.0 * (np.indices((64, 64)).sum(axis=0) % 2)[..., None], 0, 255).astype(np.uint8)
        values, floor = distance(sharp, checker), distance(sharp, sharp)
        assert values["64"] - floor["64"] > 5 * (values["16"] - floor["16"])

    def test_swd_small_takes_the_smallest_images(self):
        for side in (4, 8):
            options = {"patch": 3, "coarsest": side}
            reals, others = textures(64, side), textures(64, side, 1)
            floor = distance(reals, others, **options)
            assert list(floor) == ["average", str(side)]
            assert distance(reals, np.full_like(others, 9), **options)["average"] > 3 * floor["average"]

    @pytest.mark.parametrize("resolution", [8, 24, 100])
    def test_other_resolutions_are_refused(self, resolution):
        with pytest.raises(UserError, match=f"not {resolution}x{resolution}"):
            PatchCollector(image_shape(resolution), 4, seed=0)

    def test_missing_images_are_refused(self):
        collector = PatchCollector(image_shape(16), 4, seed=0)
        collector.add(noise(3, 16), 0)
        with pytest.raises(UserError, match="expects 4 images, and 3 were added"):
            collector.finish()

    def test_floats_are_refused(self):
        with pytest.raises(UserError, match="must be uint8"):
            PatchCollector(image_shape(16), 4, seed=0).add(noise(4, 16) / 255.0, 0)
