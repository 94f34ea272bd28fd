"""Labelled rows of images."""

from __future__ import annotations

import numpy as np
import pytest

from pggan_jax.generation.editing.sheets import arithmetic_sheet, labelled_rows, plain, tile_of
from tests.helpers.image_samples import noise


def tiles(count, height=6, width=10, channels=3):
    return np.stack([noise(height, width, channels, seed) for seed in range(count)])


def contains(sheet, image):
    windows = np.lib.stride_tricks.sliding_window_view(sheet, image.shape)[..., 0, :, :, :]
    return (windows == image).all(axis=(-3, -2, -1)).sum() == 1


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_rows_hold_each_image_once_and_a_label(channels):
    images = tiles(6, channels=channels)
    sheet = labelled_rows([images[:3], images[3:]], ["one", "two\nlines"], above=["a", "b", "c"])
    assert sheet.dtype == np.uint8
    assert all(contains(sheet, image) for image in images)
    assert sheet[:, :8, 0].min() < 100  # black text at the left
    if channels == 4:
        assert sheet[0, 0, 3] == 255


@pytest.mark.parametrize("shape", [(6, 10), (10, 6)])
def test_arithmetic_holds_each_operand_and_the_result(shape):
    operands = [tiles(4, *shape), tiles(1, *shape) // 2, tiles(3, *shape) // 3]
    result = 255 - tiles(9, *shape)
    sheet = arithmetic_sheet(operands, ["+ mean(1,2,3)", "- 4", "+ mean(5,6)"], result=result)
    shown = [tile_of(image) for images in (*operands, result) for image in images]
    assert all(contains(sheet, image) for image in shown)


@pytest.mark.parametrize(
    ("before", "after"),
    [((4, 4), (48, 48)), ((3, 40), (6, 80)), ((128, 64), (128, 64)), ((130, 65), (65, 32)), ((1024, 512), (128, 64))],
)
def test_tiles_have_between_48_and_128_pixels(before, after):
    assert tile_of(tiles(2, *before)).shape == (2, *after, 3)


def test_a_reduced_tile_is_the_mean_of_squares():
    image = tiles(1, 256, 256)
    assert np.array_equal(tile_of(image)[0, 0, 0], np.rint(image[0, :2, :2].mean(axis=(0, 1))))


def test_letters_that_the_font_lacks():
    assert plain("café 猫") == "cafe ?"
