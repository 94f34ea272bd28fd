"""Lower levels: exactly the means of the largest one, rounded once (spec 4.1)."""

from __future__ import annotations

import numpy as np
import pytest

from pggan_jax.data.pyramid import fill_levels, level_shapes
from tests.helpers.image_samples import noise


def computed(images, resolution, base_shape=(4, 4)):
    """All levels of uint8 images of the largest shape."""
    shapes = level_shapes(resolution, base_shape)
    levels = {
        size: np.full((len(images), *shape, images.shape[-1]), 77, np.uint8)  # what occurs twice must not matter
        for size, shape in shapes.items()
    }
    levels[resolution][:] = images
    fill_levels(levels)
    return levels


def official(images, halvings):
    """As the authors' writer: halved in floating point again and again, rounded when a level is stored."""
    images = images.astype(np.float64)
    for _ in range(halvings):
        images = (images[:, 0::2, 0::2] + images[:, 0::2, 1::2] + images[:, 1::2, 0::2] + images[:, 1::2, 1::2]) * 0.25
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def assert_exact(images, resolution, base_shape=(4, 4)):
    levels = computed(images, resolution, base_shape)
    for halvings, level in enumerate(levels.values()):
        np.testing.assert_array_equal(level, official(images, halvings))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("base_shape", [(4, 4), (3, 4), (1, 1), (5, 2)])
@pytest.mark.parametrize("resolution", [4, 8, 16, 64])
def test_exact(resolution, base_shape, channels):
    shape = level_shapes(resolution, base_shape)[resolution]
    images = np.stack([noise(*shape, channels, seed) for seed in range(3)])
    assert_exact(images, resolution, base_shape)


@pytest.mark.parametrize("resolution", [128, 512, 2048])
def test_exact_at_large_sizes(resolution):
    assert_exact(noise(resolution, resolution, 1)[None], resolution)


@pytest.mark.parametrize("values", [(255, 255), (254, 255), (0, 1), (0, 0)])
@pytest.mark.parametrize("resolution", [16, 64, 128, 2048])
def test_extreme_images_do_not_overflow(values, resolution):
    """Sums of 4^k pixels at 255, and of nearly so much, where rounding adds half a divisor."""
    base_shape = (1, 1) if resolution > 128 else (4, 4)
    shape = level_shapes(resolution, base_shape)[resolution]
    images = np.random.default_rng(1).choice(np.array(values, np.uint8), (1, *shape, 1))
    assert_exact(images, resolution, base_shape)


@pytest.mark.parametrize("halvings", [1, 2, 3, 4, 5])
def test_halves_go_to_the_even_neighbour(halvings):
    side = 2**halvings
    images = np.zeros((512, side, side, 1), np.uint8)
    for number, image in enumerate(images):
        # The sum of all pixels over their number is number / 2.
        image.reshape(-1)[:] = number // 2
        if number % 2:
            image.reshape(-1)[: side * side // 2] = min(number // 2 + 1, 255)
    *_, last = computed(images[:510], 4 * side, (1, 1)).values()
    assert last.reshape(-1).tolist() == [round(number / 2) for number in range(510)]


def test_rounding_every_level_would_differ():
    """0.5 rounds to 0 (to even); its mean with three 1.5 rounds to 1, of the rounded 0, 2, 2, 2 to 2."""
    image = np.zeros((1, 16, 16, 1), np.uint8)
    image[0, :4, :4, 0] = [[1, 0, 2, 1], [0, 1, 1, 2], [2, 1, 2, 1], [1, 2, 1, 2]]
    levels = computed(image, 16)
    assert levels[8][0, :2, :2, 0].tolist() == [[0, 2], [2, 2]]
    assert levels[4][0, 0, 0, 0] == 1


def test_images_do_not_mix():
    images = np.stack([noise(16, 16, 3, seed) for seed in range(5)])
    together = computed(images, 16)
    for index in range(5):
        alone = computed(images[index : index + 1], 16)
        for size, level in alone.items():
            np.testing.assert_array_equal(together[size][index], level[0])


def test_the_largest_level_is_left_alone():
    images = noise(16, 16)[None]
    np.testing.assert_array_equal(computed(images, 16)[16], images)


@pytest.mark.parametrize(
    ("resolution", "base_shape", "shapes"),
    [
        (4, (4, 4), {4: (4, 4)}),
        (32, (4, 4), {32: (32, 32), 16: (16, 16), 8: (8, 8), 4: (4, 4)}),
        (16, (3, 4), {16: (12, 16), 8: (6, 8), 4: (3, 4)}),
    ],
)
def test_shapes(resolution, base_shape, shapes):
    assert list(level_shapes(resolution, base_shape).items()) == list(shapes.items())


@pytest.mark.parametrize("resolution", [-4, 0, 2, 3, 6, 12, 33])
def test_other_resolutions_are_refused(resolution):
    with pytest.raises(ValueError, match=r"is not 4\*2\^k"):
        level_shapes(resolution)
