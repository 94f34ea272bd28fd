"""MS-SSIM against golden values of the authors' code and a slow reference; invariances."""

from __future__ import annotations

import numpy as np
import pytest

from pggan_jax.errors import UserError
from pggan_jax.evaluation.metrics.ms_ssim import SimilarityCollector, ms_ssim, pair_similarities
from pggan_jax.images import ImageShape, image_shape
from tests.helpers import metric_reference
from tests.helpers.image_batches import noise


def golden_pair(side):
    y, x, c = np.mgrid[:side, :side, :3]
    first = (2 * x + y + 30 * c) % 256
    return first.astype(np.uint8), np.clip(first + (x * y) % 41 - 20, 0, 255).astype(np.uint8)


def one(first, second):
    return float(pair_similarities(first[None], second[None])[0])


@pytest.mark.parametrize("side", [32, 64, 128, 256])
def test_golden(reference, side):
    expected = reference["golden_metrics"]["ms_ssim"]["values"][str(side)]
    assert one(*golden_pair(side)) == pytest.approx(expected, abs=2e-6)


def test_golden_extremes(reference):
    golden = reference["golden_metrics"]["ms_ssim"]
    first, _ = golden_pair(64)
    assert one(first, first) == pytest.approx(golden["identical_pair"], abs=1e-6)
    assert one(first, 255 - first) == golden["pair_a_vs_255_minus_a_at_64"]


@pytest.mark.parametrize("side", [16, 32])
def test_equals_the_slow_reference(side):
    """Windows of every size, odd and even, at one scale or another."""
    smooth = np.clip(np.cumsum(noise(1, side, 3)[0] - 127.0, axis=0) / 8 + 100, 0, 255).astype(np.uint8)
    second = np.clip(smooth + noise(1, side, 4)[0] / 5.0, 0, 255).astype(np.uint8)
    assert one(smooth, second) == pytest.approx(metric_reference.ms_ssim(smooth, second), abs=2e-6)


def test_symmetric():
    first, second = golden_pair(32)
    assert one(first, second) == pytest.approx(one(second, first), abs=1e-6)


def collected(images, batch):
    collector = SimilarityCollector(ImageShape(images.shape[1], *images.shape[1:3]), len(images))
    for start in range(0, len(images), batch):
        collector.add(images[start : start + batch], start)
    return collector.finish()


def test_pairs_do_not_depend_on_batches():
    images = noise(134, 16)
    expected = [one(images[i], images[i + 1]) for i in range(0, 134, 2)]
    for batch in (1, 7, 64, 134):
        np.testing.assert_allclose(collected(images, batch), expected, atol=1e-6)


def test_one_mode_scores_worse_than_many():
    reals = noise(64, 16)
    collapsed = np.clip(noise(1, 16, 9) + noise(64, 16, 5) / 20.0, 0, 255).astype(np.uint8)
    measured = ms_ssim(collected(reals, 64), collected(collapsed, 64), shape=image_shape(reals.shape[1]))
    assert measured.values["ms_ssim"] > 0.5 > measured.values["reals"]
    assert measured.uncertainty["reals"] == pytest.approx(collected(reals, 64).std() / np.sqrt(32))


def test_constant_images_have_similarity_1():
    assert collected(np.full((4, 16, 16, 3), 90, np.uint8), 4) == pytest.approx(1.0)


def test_grey_equals_its_colour_copy():
    grey = noise(4, 16, channels=1)
    np.testing.assert_allclose(collected(grey, 4), collected(np.repeat(grey, 3, axis=-1), 4), atol=1e-6)


@pytest.mark.parametrize(
    ("resolution", "count", "words"),
    [(8, 2, "at least 16x16"), (16, 3, "must be even and above 0"), (16, 0, "must be even and above 0")],
)
def test_refusals(resolution, count, words):
    with pytest.raises(UserError, match=words):
        SimilarityCollector(image_shape(resolution), count)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((2, 16, 16, 3), np.float32), "must be uint8 from 0 to 255, not float32"),
        (np.zeros((2, 32, 32, 3), np.uint8), "must be 16x16, not 32x32"),
        (np.zeros((2, 16, 16, 2), np.uint8), "shape .batch, height, width, 1 or 3."),
    ],
)
def test_other_images_are_refused(images, words):
    with pytest.raises(UserError, match=words):
        SimilarityCollector(image_shape(16), 2).add(images, 0)


def test_missing_images_are_refused():
    collector = SimilarityCollector(image_shape(16), 4)
    collector.add(noise(2, 16), 0)
    with pytest.raises(UserError, match="expects 4 images, and 2 were added"):
        collector.finish()
