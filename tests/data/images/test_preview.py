"""Images at their own size, labelled grids with legible captions, and comparison."""

from __future__ import annotations

import numpy as np
import pytest

from pggan_jax.data.images.crop_resize import TargetFormat
from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.images.preview import equal_images, grid_shape, image_array, labelled_grid
from tests.helpers.image_samples import Items, encoded, noise, plain, quarters, stored_turned


class TestAsPicture:
    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_keeps_size_and_channels(self, channels):
        pixels = noise(5, 7, channels)
        for content in (pixels, encoded(pixels[..., 0] if channels == 1 else pixels)):
            np.testing.assert_array_equal(image_array(content), pixels)

    def test_grey_with_transparency_keeps_both(self):
        pixels = noise(5, 7, 2)
        expected = np.concatenate([pixels[..., :1].repeat(3, axis=-1), pixels[..., 1:]], axis=-1)
        for content in (pixels, encoded(pixels)):
            np.testing.assert_array_equal(image_array(content), expected)

    def test_upright(self):
        np.testing.assert_array_equal(image_array(stored_turned(quarters(), 8)), quarters())

    @pytest.mark.parametrize("content", [b"text", encoded(noise(40, 40))[:900], noise(4, 4, 7)])
    def test_refusals(self, content):
        with pytest.raises(UnusableImageError):
            image_array(content)


class TestEqualImages:
    def equal(self, first, second):
        return equal_images(Items([first]), Items([second]), index=0)

    def test_pixels_count_and_not_files(self):
        pixels = noise(8, 8)
        for other in (pixels, encoded(pixels), encoded(pixels, compress_level=0), encoded(pixels, "BMP")):
            assert self.equal(pixels, other)
            assert self.equal(other, encoded(pixels))

    def test_differences(self):
        pixels = noise(8, 8)
        other = pixels.copy()
        other[7, 7, 2] ^= 1
        for first, second in ((pixels, other), (encoded(pixels), encoded(other)), (pixels, pixels[:4]), (pixels, b"text")):
            assert not self.equal(first, second)

    def test_what_cannot_be_decoded_equals_its_exact_copy(self):
        cut = encoded(noise(40, 40))[:900]
        assert self.equal(b"text", b"text")
        assert self.equal(cut, bytes(bytearray(cut)))
        assert not self.equal(b"text", b"test")
        assert not self.equal(cut, encoded(noise(40, 40)))
        assert not self.equal("cannot be read", "cannot be read")

    def test_arrays_that_cannot_be_shown(self):
        assert self.equal(noise(4, 4, 7), noise(4, 4, 7))
        assert not self.equal(noise(4, 4, 7), noise(4, 4, 7, seed=1))


class TestGrid:
    def grid(self, names, target, columns=3, items=None):
        items = items or [plain((200, 200), (50, 100, 150))] * len(names)
        source = Items(items, labels=range(len(items)), class_names=names)
        return labelled_grid(source, range(len(items)), target=target, columns=columns)

    def test_without_classes_items_alone(self):
        items = [noise(64, 64, seed=seed) for seed in range(5)]
        grid, problems = labelled_grid(Items(items), [3, 0, 4], target=TargetFormat(64, 64, 3), columns=2)
        assert problems == []
        assert grid.shape == (2 * 66, 2 * 66, 3)
        np.testing.assert_array_equal(grid[:64, :64], items[3])
        np.testing.assert_array_equal(grid[:64, 66:130], items[0])
        np.testing.assert_array_equal(grid[66:130, :64], items[4])
        assert not grid[66:, 66:].any()
        assert not grid[64:66].any()
        assert not grid[:, 64:66].any()

    def test_each_stands_above_its_own_class(self):
        grid, _ = self.grid(["i", "w", "mmm"], TargetFormat(64, 64, 3))
        captions = [grid[64:78, left : left + 64] for left in (0, 66, 132)]
        inks = [int((caption > 128).sum()) for caption in captions]
        assert 0 < inks[0] < inks[1] < inks[2]
        again, _ = self.grid(["w", "i", "mmm"], TargetFormat(64, 64, 3))
        np.testing.assert_array_equal(again[64:78, :64], captions[1])

    def test_letters_are_not_cut_off(self):
        """Tall and hanging letters leave a line of black above and below."""
        grid, _ = self.grid(["(ÁgjpqyQ|_)"], TargetFormat(128, 128, 3), columns=1)
        caption = grid[128:142, :128]
        assert caption[2:12].any()
        assert not caption[[0, 13]].any()

    def test_long_names_are_shortened_visibly(self):
        long, _ = self.grid(["a" * 300], TargetFormat(64, 64, 1), columns=1)
        longer, _ = self.grid(["a" * 5000], TargetFormat(64, 64, 1), columns=1)
        fits, _ = self.grid(["a" * 5], TargetFormat(64, 64, 1), columns=1)
        np.testing.assert_array_equal(long, longer)
        assert not long[64:78, 62:].any()
        assert not np.array_equal(long, fits)

    def test_letters_that_the_font_lacks(self):
        accents, _ = self.grid(["Übergröße"[:5]], TargetFormat(64, 64, 1))
        np.testing.assert_array_equal(accents, self.grid(["Uberg"], TargetFormat(64, 64, 1))[0])
        numbered, _ = self.grid(["日本"], TargetFormat(64, 64, 1))
        np.testing.assert_array_equal(numbered, self.grid(["class 0"], TargetFormat(64, 64, 1))[0])

    @pytest.mark.parametrize(("side", "zoom"), [(4, 16), (32, 2), (48, 1), (64, 1), (128, 1)])
    def test_small_items_are_enlarged_whole(self, side, zoom):
        pixels = noise(side, side)
        grid, _ = labelled_grid(Items([pixels]), [0], target=TargetFormat(side, side, 3), columns=1)
        np.testing.assert_array_equal(grid[: zoom * side : zoom, : zoom * side : zoom], pixels)
        np.testing.assert_array_equal(grid[zoom - 1 : zoom * side : zoom, zoom - 1 : zoom * side : zoom], pixels)

    @pytest.mark.parametrize("channels", [1, 3, 4, 7])
    def test_unusable_items_are_black_and_named(self, channels):
        good = noise(64, 64, 1)
        grid, problems = self.grid("abc", TargetFormat(64, 64, channels), items=[good, b"text", good])
        assert problems == ["item 1 is not an image; remove it or save it as PNG or JPEG"]
        assert not grid[:64, 66:130].any()
        assert grid[:64, 132:196].any()

    def test_captions_can_be_seen_beside_transparent_items(self):
        grid, _ = self.grid("a", TargetFormat(64, 64, 4), columns=1)
        assert (grid[64:78, :64, 3] == 255).all()
        assert grid[64:78, :64, :3].max() > 128

    @pytest.mark.parametrize(("height", "width"), [(64, 64), (24, 32), (100, 20)])
    @pytest.mark.parametrize("items", [1, 3, 7])
    def test_its_size_is_known_beforehand(self, items, height, width):
        target = TargetFormat(height, width, 1)
        grid, _ = self.grid("abcdefg"[:items], target, items=[plain((200, 200))] * items)
        assert grid.shape[:2] == grid_shape(items, target, columns=3)
