"""DiffAugment against a slow reference, and what it must leave alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pggan_jax.training import augmentation
from pggan_jax.training.augmentation import augment, change_color, cut_out, translate
from tests.helpers.compiling import quick_jit

SHAPES = [(6, 8, 8, 3), (6, 4, 4, 1), (6, 6, 16, 3)]
ALL = ("color", "translation", "cutout")


def images_of(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def keys_of(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def slow(image, operations, draws):
    """One image, operation by operation and pixel by pixel."""
    x, (height, width, _) = np.array(image, np.float64), image.shape
    if "color" in operations:
        x = x + draws[0] - 0.5
        grey = x.mean(axis=2, keepdims=True)
        x = (x - grey) * 2 * draws[1] + grey
        x = (x - x.mean()) * (draws[2] + 0.5) + x.mean()
    if "translation" in operations:
        most = [int(side / 8 + 0.5) for side in (height, width)]
        down, right = (int(u * (2 * m + 1)) - m for u, m in zip(draws[3:5], most, strict=True))
        old, x = x, np.zeros_like(x)
        for row in range(height):
            for column in range(width):
                if 0 <= row - down < height and 0 <= column - right < width:
                    x[row, column] = old[row - down, column - right]
    if "cutout" in operations:
        sizes = [int(side / 2 + 0.5) for side in (height, width)]
        starts = [
            int(u * (side + 1 - size % 2)) - size // 2 for u, side, size in zip(draws[5:7], (height, width), sizes, strict=True)
        ]
        for row in range(height):
            for column in range(width):
                if starts[0] <= row < starts[0] + sizes[0] and starts[1] <= column < starts[1] + sizes[1]:
                    x[row, column] = 0.0
    return x


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("operations", [("color",), ("translation",), ("cutout",), ALL, ALL[::-1]], ids=",".join)
def test_as_the_slow_reference(shape, operations):
    images, keys = images_of(shape), keys_of(len(SHAPES) * 2)
    folded = [jax.random.fold_in(key, augmentation._STREAM + 1) for key in keys]
    draws = [np.asarray(jax.random.uniform(key, (augmentation.DRAWS,)), np.float64) for key in folded]
    expected = [slow(image, operations, own) for image, own in zip(images, draws, strict=True)]
    ours = quick_jit(lambda x: augment(x, operations, keys, pass_number=1))(images)
    np.testing.assert_allclose(ours, expected, atol=2e-6)


def test_without_operations_nothing_is_traced():
    images = jnp.ones((2, 4, 4, 3))
    assert augment(images, (), keys_of(2), pass_number=0) is images


def test_an_image_is_changed_by_its_own_key_alone():
    images, keys = images_of((6, 8, 8, 3)), keys_of(6)
    together = augment(images, ALL, keys, pass_number=0)
    alone = augment(images[4:5], ALL, keys[4:5], pass_number=0)
    np.testing.assert_allclose(together[4], alone[0], atol=1e-6)
    assert np.abs(together - augment(images, ALL, keys, pass_number=1)).max() > 0.1


def test_color_is_the_identity_in_expectation():
    image = images_of((1, 4, 4, 3))
    draws = np.stack(np.meshgrid(*[(np.arange(8) + 0.5) / 8] * 3), axis=-1).reshape(-1, 3).astype(np.float32)
    mean = change_color(np.repeat(image, len(draws), axis=0), draws).mean(axis=0)
    np.testing.assert_allclose(mean, image[0], atol=1e-5)


def test_saturation_does_nothing_to_grey_images():
    image = images_of((1, 4, 4, 1))
    low, high = (change_color(image, np.array([[0.5, u, 0.5]], np.float32)) for u in (0.0, 1.0))
    np.testing.assert_allclose(low, high, atol=1e-6)
    np.testing.assert_allclose(low, image, atol=1e-6)


def test_derivatives_of_any_order():
    """A linear map's derivative is its adjoint, and that of the adjoint the map itself."""
    images, other, keys = images_of((6, 8, 6, 2)), images_of((6, 8, 6, 2), 1), keys_of(6)
    apply = lambda x: augment(x, ("translation", "cutout"), keys, pass_number=0)  # noqa: E731
    _, pull = jax.vjp(apply, images)
    (pulled,) = pull(other)
    np.testing.assert_allclose((apply(images) * other).sum(), (images * pulled).sum(), rtol=1e-4)
    _, pull_again = jax.vjp(lambda slope: pull(slope)[0], other)
    np.testing.assert_allclose(pull_again(images)[0], apply(images), atol=1e-6)


def test_moves_and_windows_at_the_borders():
    image = np.ones((1, 8, 8, 1), np.float32)
    moved = translate(image, jnp.array([1]), jnp.array([-1]))[0, :, :, 0]
    assert moved.sum() == 49
    assert not moved[0].any()
    assert not moved[:, -1].any()
    corner, centre = (1 - cut_out(image, np.full((1, 2), u, np.float32)) for u in (0.0, 0.5))
    assert (corner.sum(), centre.sum()) == (4, 16)
