"""Sources whose images are drawn, cut or chosen for a shape that is not square."""

from __future__ import annotations

import numpy as np
import pytest

from pggan_jax.config import DataConfig
from pggan_jax.data.open_loader import open_loader
from pggan_jax.data.sources.builtin import DigitsSource, PhotosSource
from pggan_jax.data.sources.open_source import open_source
from pggan_jax.errors import UserError
from pggan_jax.images import write_png
from tests.helpers.official_records import write_tfrecords


@pytest.mark.parametrize("source", ["digits", "photos", "synthetic:8", "stacked:digits"])
@pytest.mark.parametrize(
    ("base_shape", "size"), [((3, 4), (12, 16)), ((2, 16), (8, 64)), ((4, 4), (16, 16)), ((5, 2), (20, 8))]
)
def test_drawn_images_have_the_shape(source, base_shape, size):
    opened = open_source(source, resolution=16, base_shape=base_shape)
    assert opened.read(3).shape == (*size, opened.channels)


def test_photographs_are_cut_not_stretched():
    for height, width in ((24, 32), (16, 128), (128, 16), (32, 32)):
        source = PhotosSource(height=height, width=width)
        for index in range(40):
            number, (left, top, right, bottom) = source._crop(index)
            across, down = right - left, bottom - top
            photo_width, photo_height = source._photos[number].size
            assert 0 <= left < right <= photo_width
            assert 0 <= top < bottom <= photo_height
            assert (across >= width, down >= height) == (True, True), "never enlarged"
            assert abs(down - across * height / width) < 1
    with pytest.raises(UserError, match=r"images of 32x512: .* photos has at most 256"):
        PhotosSource(height=32, width=512)


def test_digits_stand_in_the_middle():
    square, wide = DigitsSource(height=24, width=24).read(5), DigitsSource(height=24, width=32).read(5)
    np.testing.assert_array_equal(wide[:, 4:28], square)
    assert not wide[:, :4].any()
    assert not wide[:, 28:].any()


def test_a_folder_is_cut_to_the_shape(tmp_path):
    """The middle of a photograph of 16:9 for 3:4, and every level is half the one before."""
    image = np.zeros((36, 64, 3), np.uint8)
    image[:, 8:56] = 200  # the middle 36x48
    for number in range(3):
        write_png(tmp_path / f"{number}.png", image)
    loader = open_loader(DataConfig(f"folder:{tmp_path}", 16, "3x4", resample="box"), seed=0)
    assert (loader.image_spec.height, loader.image_spec.width) == (12, 16)
    assert [str(loader.shape_at(resolution)) for resolution in (4, 8, 16)] == ["3x4", "6x8", "12x16"]
    for resolution in (4, 8, 16):
        assert (loader.level(resolution) == 200).all()


def test_tfrecords_give_a_level_that_is_large_enough(tmp_path):
    write_tfrecords(tmp_path, "a", np.zeros((3, 3, 64, 64), np.uint8))
    for resolution, base_shape, side in ((16, (4, 4), 16), (16, (3, 4), 16), (8, (2, 16), 32), (8, (5, 5), 16), (4, (2, 8), 8)):
        assert open_source(f"tfrecords:{tmp_path}", resolution=resolution, base_shape=base_shape).read(0).shape == (
            side,
            side,
            3,
        )
    assert str(open_loader(DataConfig(f"tfrecords:{tmp_path}", 16, "2x8"), seed=0).shape_at(16)) == "8x32"


def test_the_cache_keeps_each_base_shape_apart():
    shapes = [open_loader(DataConfig("synthetic:9", 8, shape), seed=0).shape_at(8) for shape in ("4x4", "3x4", "2x16")]
    assert list(map(str, shapes)) == ["8x8", "6x8", "4x32"]
