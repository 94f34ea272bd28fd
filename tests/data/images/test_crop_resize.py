"""Crop and resize: the right part, upright, by the wanted filter, or a clear reason."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pggan_jax.data.images.crop_resize import FILTERS, TargetFormat, crop_and_resize, find_placement
from pggan_jax.data.images.decode import UnusableImageError, decoding_errors, open_image
from tests.helpers.image_samples import encoded, landscape, noise, plain, quarters, stored_turned


def box_of(size, target):
    with decoding_errors():
        return find_placement(Image.new("L", size), target).box


def refusal(content, target):
    with pytest.raises(UnusableImageError) as caught:
        crop_and_resize(content, target)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def coordinates(height, width):
    """Return an image whose pixels are their column and row, uint8 `[height, width, 3]`."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([columns, rows, np.zeros_like(rows)], axis=-1).astype(np.uint8)


class TestCrop:
    @pytest.mark.parametrize(
        ("size", "target", "box"),
        [
            ((20, 16), TargetFormat(8, 8, 1), (2, 0, 18, 16)),
            ((16, 20), TargetFormat(8, 8, 1), (0, 2, 16, 18)),
            ((21, 16), TargetFormat(8, 8, 1), (2, 0, 18, 16)),
            ((8, 8), TargetFormat(8, 8, 1), (0, 0, 8, 8)),
            ((1001, 667), TargetFormat(64, 64, 1), (167, 0, 834, 667)),
            # 3:4 as wide as it is high by a third more.
            ((40, 30), TargetFormat(24, 32, 1), (0, 0, 40, 30)),
            ((50, 30), TargetFormat(24, 32, 1), (5, 0, 45, 30)),
            ((40, 60), TargetFormat(24, 32, 1), (0, 15, 40, 45)),
            ((100, 100), TargetFormat(32, 16, 1), (25, 0, 75, 100)),
            # The shape cannot be met exactly with whole pixels: to the nearest.
            ((100, 49), TargetFormat(24, 32, 1), (17, 0, 82, 49)),
            ((100, 50), TargetFormat(24, 32, 1), (16, 0, 83, 50)),
        ],
    )
    def test_center_keeps_the_largest_centred_part(self, size, target, box):
        assert box_of(size, target) == box

    def test_none_takes_all_of_the_same_shape_only(self):
        assert box_of((40, 30), TargetFormat(24, 32, 1, crop="none")) == (0, 0, 40, 30)
        assert refusal(plain((20, 16)), TargetFormat(8, 8, 3, crop="none")) == (
            "is 20x16, another shape than 8x8; crop it, or set crop=center"
        )

    @pytest.mark.parametrize("target", [TargetFormat(4, 4, 3, crop="3,5,4,4"), TargetFormat(4, 6, 3, crop="3,5,6,4")])
    def test_a_window_is_just_that_part(self, target):
        image = coordinates(20, 30)
        np.testing.assert_array_equal(crop_and_resize(encoded(image), target), image[5:9, 3 : 3 + target.width])

    def test_celeba_is_cropped_as_by_the_authors(self, reference):
        (top, bottom), (left, right) = reference["golden_data"]["celeba_crop_row_range_col_range_half_open"]
        image = coordinates(218, 178)
        window = f"{left},{top},{right - left},{bottom - top}"
        assert window == "25,57,128,128"
        np.testing.assert_array_equal(
            crop_and_resize(encoded(image), TargetFormat(128, 128, 3, crop=window)), image[top:bottom, left:right]
        )

    def test_a_window_of_another_shape_or_size_is_cropped_and_shrunk(self):
        target = TargetFormat(8, 8, 1, crop="10,20,40,16")
        assert box_of((100, 100), target) == (22, 20, 38, 36)

    def test_a_window_refers_to_the_upright_image(self):
        image = coordinates(20, 30)
        for orientation in range(1, 9):
            content = stored_turned(image, orientation)
            np.testing.assert_array_equal(crop_and_resize(content, TargetFormat(4, 6, 3, crop="3,5,6,4")), image[5:9, 3:9])

    def test_windows_that_do_not_fit(self):
        outside = TargetFormat(8, 8, 3, crop="10,10,8,8")
        assert refusal(plain((17, 20)), outside) == "is 17x20; the crop window 10,10,8,8 exceeds it; use a smaller window"
        assert crop_and_resize(plain((18, 18)), outside).shape == (8, 8, 3)
        small = TargetFormat(8, 8, 3, crop="0,0,8,7")
        assert (
            refusal(plain((20, 20)), small) == "has 8x7 pixels in the crop window 0,0,8,7, fewer than 8x8; use a larger window"
        )

    def test_pad_centres_the_image_on_black(self):
        digit = noise(28, 28, 1)
        padded = crop_and_resize(digit, TargetFormat(32, 32, 1, crop="pad"))
        np.testing.assert_array_equal(padded, np.pad(digit, ((2, 2), (2, 2), (0, 0))))
        wide = crop_and_resize(encoded(noise(3, 8)), TargetFormat(4, 12, 3, crop="pad"))
        assert wide[3].max() == wide[:, :2].max() == wide[:, 10:].max() == 0
        np.testing.assert_array_equal(wide[:3, 2:10], noise(3, 8))

    def test_pad_never_shrinks(self):
        assert (
            refusal(plain((9, 4)), TargetFormat(8, 8, 3, crop="pad"))
            == "is 9x4, larger than 8x8; crop=pad does not shrink, crop=fit does"
        )

    @pytest.mark.parametrize(
        ("size", "inner"),
        [((40, 10), (8, 2)), ((10, 40), (2, 8)), ((16, 16), (8, 8)), ((5, 3), (5, 3)), ((9, 4), (8, 4)), ((4000, 1), (8, 1))],
    )
    def test_fit_keeps_the_whole_of_an_image_in_the_middle_of_black(self, size, inner):
        fitted = crop_and_resize(plain(size, color=(255, 255, 255)), TargetFormat(8, 8, 3, crop="fit"))
        rows, columns = np.flatnonzero(fitted.any(axis=(1, 2))), np.flatnonzero(fitted.any(axis=(0, 2)))
        assert (len(columns), len(rows)) == inner
        assert (rows[0], columns[0]) == ((8 - inner[1]) // 2, (8 - inner[0]) // 2)
        assert (fitted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 255).all()

    @pytest.mark.parametrize("kind", ["PNG", "JPEG"])
    def test_fit_shrinks_as_the_filter_does(self, kind):
        image = landscape(100, 400)
        content = encoded(image, kind)
        fitted = crop_and_resize(content, TargetFormat(16, 16, 3, crop="fit"))
        small = Image.open(io.BytesIO(content)).resize((16, 4), Image.Resampling.LANCZOS)
        np.testing.assert_allclose(fitted[6:10].astype(int), np.asarray(small), atol=12)
        assert not fitted[:6].any()
        assert not fitted[10:].any()

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_fit_turns_first(self, orientation):
        image = quarters(12, 20)
        fitted = crop_and_resize(stored_turned(image, orientation), TargetFormat(20, 20, 3, crop="fit"))
        np.testing.assert_array_equal(fitted[4:16], image)

    @pytest.mark.parametrize("size", [(7, 40), (40, 7), (1, 1)])
    def test_too_small(self, size):
        reason = refusal(plain(size), TargetFormat(8, 8, 3))
        assert reason == f"is {size[0]}x{size[1]}, smaller than 8x8; remove it, or set a lower resolution"

    def test_too_small_counts_upright(self):
        image = quarters(12, 20)
        for orientation in range(1, 9):
            content = stored_turned(image, orientation)
            np.testing.assert_array_equal(crop_and_resize(content, TargetFormat(12, 20, 3, crop="none")), image)
            assert refusal(content, TargetFormat(20, 12, 3)).startswith("is 20x12, smaller than 12x20")


class TestChannels:
    def test_every_mode_in_every_number(self):
        files = {
            "RGB": (plain(color=(255, 0, 0)), [76], [255, 0, 0, 255]),
            "L": (plain(mode="L", color=80), [80], [80, 80, 80, 255]),
            "LA": (plain(mode="LA", color=(80, 255)), [80], [80, 80, 80, 255]),
            "RGBA": (plain(mode="RGBA", color=(255, 0, 0, 255)), [76], [255, 0, 0, 255]),
            "CMYK": (plain(mode="CMYK", color=(0, 0, 0, 0), kind="JPEG"), [255], [255] * 4),
            "P": (plain(mode="P", color=0), [0], [0, 0, 0, 255]),
            "1": (plain(mode="1", color=1), [255], [255] * 4),
            "I;16": (encoded(np.full((16, 16), 128 * 257, np.uint16)), [128], [128, 128, 128, 255]),
        }
        for content, grey, colours in files.values():
            for channels, expected in ((1, grey), (3, colours[:3]), (4, colours)):
                pixels = crop_and_resize(content, TargetFormat(8, 8, channels))
                assert pixels.shape == (8, 8, channels)
                assert pixels.dtype == np.uint8
                np.testing.assert_allclose(pixels, np.broadcast_to(expected, pixels.shape), atol=2)

    def test_grey_is_repeated_to_any_number(self):
        content = encoded(noise(16, 16, 1)[..., 0])
        grey = crop_and_resize(content, TargetFormat(8, 8, 1))
        for channels in (2, 3, 7):
            np.testing.assert_array_equal(
                crop_and_resize(content, TargetFormat(8, 8, channels)), grey.repeat(channels, axis=-1)
            )

    def test_colours_are_not(self):
        assert refusal(plain(), TargetFormat(8, 8, 7)) == "is RGB; only grey images can be repeated to 7 channels"

    @pytest.mark.parametrize(
        ("mode", "color", "own", "name"),
        [
            ("L", 1, 1, "grey"),
            ("LA", (1, 2), 2, "grey with transparency"),
            ("RGB", (1, 2, 3), 3, "RGB"),
            ("RGBA", 0, 4, "RGBA"),
        ],
    )
    def test_refusing_other_modes(self, mode, color, own, name):
        content = plain(mode=mode, color=color)
        for channels, wanted in ((1, "grey"), (3, "RGB"), (4, "RGBA")):
            target = TargetFormat(8, 8, channels, modes="refuse")
            if channels == own:
                assert crop_and_resize(content, target).shape == (8, 8, channels)
            else:
                assert refusal(content, target) == f"is {name}, not {wanted}; convert it, or set modes=convert"


class TestArrays:
    @pytest.mark.parametrize("channels", [1, 3, 4, 7])
    def test_of_the_wanted_shape_pass_through_without_a_copy(self, channels):
        pixels = noise(8, 6, channels)
        assert np.shares_memory(crop_and_resize(pixels, TargetFormat(8, 6, channels)), pixels)

    def test_of_other_shapes_are_treated_like_files(self):
        pixels = noise(32, 48)
        target = TargetFormat(8, 8, 1)
        np.testing.assert_array_equal(crop_and_resize(pixels, target), crop_and_resize(encoded(pixels), target))

    def test_of_many_channels_have_only_their_own_size(self):
        assert "has 7 channels; only images of 1 to 4" in refusal(noise(16, 16, 7), TargetFormat(8, 8, 7))


class TestFilters:
    @pytest.mark.parametrize("name", FILTERS)
    def test_each_is_pillow_s(self, name):
        image = noise(16, 16)
        expected = Image.fromarray(image).resize((8, 8), FILTERS[name])
        np.testing.assert_array_equal(crop_and_resize(image, TargetFormat(8, 8, 3, resample=name)), expected)
        others = [crop_and_resize(image, TargetFormat(8, 8, 3, resample=other)) for other in FILTERS if other != name]
        assert not any(np.array_equal(expected, other) for other in others)

    def test_box_is_the_mean(self):
        image = noise(64, 64)
        means = image.reshape(8, 8, 8, 8, 3).mean(axis=(1, 3))
        np.testing.assert_allclose(crop_and_resize(image, TargetFormat(8, 8, 3, resample="box")), means, atol=1)

    @pytest.mark.parametrize("size", [(640, 640), (640, 427), (427, 640), (1001, 1001), (2000, 1501)])
    @pytest.mark.parametrize(
        "shape", [(24, 32), pytest.param((16, 16), marks=pytest.mark.slow), pytest.param((40, 40), marks=pytest.mark.slow)]
    )
    def test_large_images_equal_the_plain_filter(self, size, shape):
        """Reduced first, and JPEG decoded at a part of its size: faster, and nearly the same.

        At 1001 pixels the decoder rounds its size up; a box half a reduced pixel off would differ by 33 at edges.
        """
        target = TargetFormat(*shape, 3)
        image = Image.fromarray(landscape(size[1], size[0]))
        file = encoded(image, "JPEG", quality=95, subsampling=0)
        decoded = open_image(file)
        box = box_of(size, target)
        plain_filter = np.asarray(decoded.resize(shape[::-1], Image.Resampling.LANCZOS, box=box)).astype(int)
        difference = np.abs(crop_and_resize(file, target) - plain_filter)
        assert difference.mean() < 0.5
        assert difference.max() < 6

    def test_a_jpeg_is_exact_where_no_reduction_applies(self):
        file = encoded(landscape(40, 40), "JPEG", quality=90)
        expected = open_image(file).resize((16, 16), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(crop_and_resize(file, TargetFormat(16, 16, 3)), expected)

    def test_a_jpeg_of_the_target_size_is_unchanged(self):
        file = encoded(landscape(16, 16), "JPEG")
        np.testing.assert_array_equal(crop_and_resize(file, TargetFormat(16, 16, 3)), np.asarray(open_image(file)))

    @pytest.mark.parametrize("kind", ["JPEG", "MPO"])
    def test_a_large_jpeg_is_decoded_at_a_part_of_its_size(self, kind, monkeypatch):
        """The speed of `prepare` rests on it."""
        asked = []
        from PIL import JpegImagePlugin

        draft = JpegImagePlugin.JpegImageFile.draft
        monkeypatch.setattr(
            JpegImagePlugin.JpegImageFile, "draft", lambda self, mode, size: asked.append(draft(self, mode, size)) or asked[-1]
        )
        content = encoded(Image.fromarray(landscape(512, 768)), kind, **({"save_all": True} if kind == "MPO" else {}))
        crop_and_resize(content, TargetFormat(16, 16, 3))
        assert asked[-1][1][2:] == (96, 64)
        for name in ("nearest", "box"):
            crop_and_resize(content, TargetFormat(16, 16, 3, resample=name))
        assert len(asked) == 1

    def test_turned_jpegs_are_reduced_alike(self):
        image = landscape(512, 768)
        target = TargetFormat(24, 16, 3, crop="100,50,300,450")
        upright = crop_and_resize(stored_turned(image, 1, "JPEG", quality=95, subsampling=0), target).astype(int)
        for orientation in range(2, 9):
            turned = crop_and_resize(stored_turned(image, orientation, "JPEG", quality=95, subsampling=0), target)
            assert np.abs(turned - upright).mean() < 1


@pytest.mark.parametrize("height", [4, 8, 12])
def test_every_target_is_filled(height):
    """For any image shape, the result has the target's shape and no pixels from outside."""
    for width in range(4, 14, 3):
        for size in ((width, height), (64, 48), (31, 77), (129, 15)):
            target = TargetFormat(height, width, 3)
            content = plain(size, (9, 99, 199))
            if size[0] < width or size[1] < height:
                assert "smaller" in refusal(content, target)
            else:
                np.testing.assert_array_equal(
                    crop_and_resize(content, target), np.broadcast_to((9, 99, 199), (height, width, 3))
                )
