"""Sources: real images at the wanted size and colours, the same ones every time, and one readable line for what cannot be."""

import socket

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from pggan_jax.data.decoding import UnusableImageError, decode_image
from pggan_jax.data.sources import open_source
from pggan_jax.errors import UserError


def save(path, size=(20, 16), mode="RGB", color=(200, 100, 50), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path, **options)
    return path


def open_folder(folder, resolution=8, channels=0):
    return open_source(f"folder:{folder}", resolution=resolution, channels=channels)


@pytest.mark.parametrize(
    ("spec", "needle"),
    [
        ("digit", "digits, photos, folder:DIR"),
        ("", "digits, photos, folder:DIR"),
        ("digits:4", "write it as digits"),
        ("photos:", "write it as photos"),
        ("folder", "write it as folder:DIR"),
        ("folder:", "write it as folder:DIR"),
    ],
)
def test_unknown_sources_are_refused_in_one_line(spec, needle):
    with pytest.raises(UserError) as caught:
        open_source(spec, resolution=8, channels=0)
    assert needle in str(caught.value)
    assert repr(spec) in str(caught.value)
    assert "\n" not in str(caught.value)


class TestDigits:
    def test_all_scans_with_their_labels(self):
        source = open_source("digits", resolution=8, channels=0)
        assert (len(source), source.channels, source.class_names) == (1797, 1, tuple("0123456789"))
        assert [source.label(index) for index in range(1797)] == load_digits().target.tolist()

    def test_eight_pixels_are_the_scan_itself(self):
        source = open_source("digits", resolution=8, channels=0)
        scans = np.rint(load_digits().images[:50] * 255 / 16)
        np.testing.assert_array_equal([source.image(index)[..., 0] for index in range(50)], scans)

    @pytest.mark.parametrize("resolution", [16, 32, 64])
    def test_enlarged_digits_look_like_the_scans(self, resolution):
        source = open_source("digits", resolution=resolution, channels=0)
        factor = resolution // 8
        for index, scan in enumerate(load_digits().images[:50]):
            image = source.image(index)
            assert image.shape == (resolution, resolution, 1)
            assert image.dtype == np.uint8
            small = image[..., 0].reshape(8, factor, 8, factor).mean(axis=(1, 3))
            assert np.corrcoef(small.ravel(), scan.ravel())[0, 1] > 0.97

    def test_background_stays_black(self):
        """A pixel whose scan pixel and all its neighbours are empty has no ink to come from."""
        source = open_source("digits", resolution=64, channels=0)
        for index, scan in enumerate(load_digits().images[:200]):
            padded = np.pad(scan, 1)
            neighbours = np.max([padded[y : y + 8, x : x + 8] for y in range(3) for x in range(3)], axis=0)
            empty = (neighbours == 0).repeat(8, 0).repeat(8, 1)
            assert not source.image(index)[empty].any()

    def test_below_eight_pixels_are_block_means(self):
        source = open_source("digits", resolution=4, channels=0)
        means = load_digits().images[:20].reshape(20, 4, 2, 4, 2).mean(axis=(2, 4)) * 255 / 16
        np.testing.assert_allclose([source.image(index)[..., 0] for index in range(20)], means, atol=0.51)

    def test_more_channels_repeat_the_grey(self):
        grey = open_source("digits", resolution=16, channels=1).image(3)
        for channels in (3, 4, 7):
            source = open_source("digits", resolution=16, channels=channels)
            assert source.channels == channels
            np.testing.assert_array_equal(source.image(3), grey.repeat(channels, axis=-1))


class TestPhotos:
    def test_crops_depend_on_their_number_alone(self):
        first = open_source("photos", resolution=16, channels=0)
        second = open_source("photos", resolution=16, channels=3)
        assert first.class_names == ()
        assert first.channels == 3
        forward = [first.image(index) for index in range(30)]
        backward = [second.image(index) for index in reversed(range(30))][::-1]
        np.testing.assert_array_equal(forward, backward)
        assert len({image.tobytes() for image in forward}) == 30

    def test_needs_no_network(self, monkeypatch):
        def refuse(*_args, **_options):
            raise AssertionError("photos opened a connection")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        source = open_source("photos", resolution=256, channels=0)
        assert source.image(len(source) - 1).shape == (256, 256, 3)

    def test_crops_are_square_inside_and_never_enlarged(self):
        source = open_source("photos", resolution=256, channels=0)
        numbers = set()
        for index in range(300):
            number, (left, top, right, bottom) = source._crop(index)
            width, height = source._photos[number].size
            numbers.add(number)
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            assert right - left == bottom - top >= 256
        assert numbers == set(range(10))

    def test_luminance(self):
        grey = open_source("photos", resolution=16, channels=1).image(5)
        red, green, blue = np.moveaxis(open_source("photos", resolution=16, channels=0).image(5).astype(float), -1, 0)
        assert grey.shape == (16, 16, 1)
        np.testing.assert_allclose(grey[..., 0], 0.299 * red + 0.587 * green + 0.114 * blue, atol=3)

    def test_refusals(self):
        with pytest.raises(UserError, match=r"data\.resolution = 512: .*256"):
            open_source("photos", resolution=512, channels=0)
        for channels in (2, 4):
            with pytest.raises(UserError, match=rf"data\.channels = {channels}"):
                open_source("photos", resolution=16, channels=channels)


class TestFolder:
    def test_files_come_sorted_by_path_from_all_depths(self, tmp_path):
        for value, name in enumerate(["a.png", "b/x.bmp", "b/y.PNG", "c.gif", "d/e/f.tif", "z.webp"]):
            save(tmp_path / name, color=(value, value, value), **({"lossless": True} if name.endswith("webp") else {}))
        (tmp_path / "notes.txt").write_text("not an image")
        save(tmp_path / ".hidden.png")
        save(tmp_path / ".thumbnails" / "a.png")
        source = open_folder(tmp_path)
        assert len(source) == 6
        assert [source.image(index)[0, 0, 0] for index in range(6)] == list(range(6))
        assert source.class_names == ()

    def test_subfolders_are_classes(self, tmp_path):
        for name in ("dog/1.png", "cat/deep/2.png", "cat/3.png"):
            save(tmp_path / name)
        source = open_folder(tmp_path)
        assert source.class_names == ("cat", "dog")
        assert [source.label(index) for index in range(3)] == [0, 0, 1]

    @pytest.mark.parametrize("names", [["cat/1.png", "dog/2.png", "3.png"], ["only/1.png", "only/2.png"]])
    def test_no_classes_when_one_folder_holds_all_or_some_images_lie_outside(self, tmp_path, names):
        for name in names:
            save(tmp_path / name)
        assert open_folder(tmp_path).class_names == ()

    def test_links_in_a_circle_end(self, tmp_path):
        save(tmp_path / "cat/1.png")
        (tmp_path / "cat/up").symlink_to(tmp_path)
        assert len(open_folder(tmp_path)) == 1

    def test_centre_crop(self, tmp_path):
        pixels = np.zeros((8, 24, 3), np.uint8)
        pixels[:, 8:16] = 255
        Image.fromarray(pixels).save(tmp_path / "wide.png")
        assert (open_folder(tmp_path).image(0) == 255).all()

    def test_exif_orientation_is_applied(self, tmp_path):
        pixels = np.zeros((32, 32, 3), np.uint8)
        pixels[:16] = 255
        exif = Image.Exif()
        exif[0x0112] = 6  # The camera was turned: rotate by 90 degrees clockwise.
        Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif, quality=95)
        image = open_folder(tmp_path).image(0).astype(int)
        assert image[:, :3].max() < 30
        assert image[:, 5:].min() > 225

    def test_channels_of_mixed_modes(self, tmp_path):
        save(tmp_path / "1-rgb.png", color=(255, 0, 0))
        save(tmp_path / "2-grey.png", mode="L", color=80)
        save(tmp_path / "3-alpha.png", mode="RGBA", color=(255, 0, 0, 0))
        save(tmp_path / "4-cmyk.jpg", mode="CMYK", color=(0, 0, 0, 0), quality=95)
        save(tmp_path / "5-palette.png", mode="P", color=0)
        save(tmp_path / "6-bit.png", mode="1", color=1)
        Image.fromarray(np.full((16, 16), 128 * 257, np.uint16)).save(tmp_path / "7-deep.png")
        expected = {
            1: [[76], [80], [255], [255], [0], [255], [128]],
            3: [[255, 0, 0], [80] * 3, [255] * 3, [255] * 3, [0] * 3, [255] * 3, [128] * 3],
        }
        expected[4] = [[*colour, 255] for colour in expected[3]]
        for channels, colours in expected.items():
            source = open_folder(tmp_path, channels=channels)
            assert source.channels == channels
            for index, colour in enumerate(colours):
                image = source.image(index)
                assert image.shape == (8, 8, channels)
                if channels == 4 and index == 2:
                    assert (image[..., 3] == 0).all()
                else:
                    np.testing.assert_allclose(image, np.broadcast_to(colour, image.shape), atol=2)
        assert open_folder(tmp_path).channels == 3

    def test_unusable_files_say_why(self, tmp_path):
        (tmp_path / "1-text.png").write_text("hello")
        whole = save(tmp_path / "whole.jpg", size=(64, 64)).read_bytes()
        (tmp_path / "whole.jpg").unlink()
        (tmp_path / "2-cut.jpg").write_bytes(whole[: len(whole) // 2])
        save(tmp_path / "3-small.png", size=(7, 40))
        Image.new("F", (16, 16)).save(tmp_path / "4-float.tif")
        (tmp_path / "5-gone.png").symlink_to(tmp_path / "nowhere.png")
        source = open_folder(tmp_path)
        reasons = [
            "1-text.png is not an image",
            "2-cut.jpg cannot be",
            "3-small.png 7x40 is smaller than 8x8",
            "4-float",
            "5-gone",
        ]
        for index, reason in enumerate(reasons):
            with pytest.raises(UnusableImageError, match=reason):
                source.image(index)

    def test_refusals(self, tmp_path):
        with pytest.raises(UserError, match=r"missing'?: no such folder"):
            open_folder(tmp_path / "missing")
        with pytest.raises(UserError, match="no image file"):
            open_folder(tmp_path)
        file = save(tmp_path / "a.png")
        with pytest.raises(UserError, match="is a file, not a folder"):
            open_folder(file)
        for channels in (2, 5):
            with pytest.raises(UserError, match=rf"data\.channels = {channels}"):
                open_folder(tmp_path, channels=channels)

    def test_fingerprint_follows_the_files_and_not_the_folder(self, tmp_path):
        path = save(tmp_path / "old/a.png")
        before = open_folder(tmp_path / "old").fingerprint()
        assert open_folder(tmp_path / "old").fingerprint() == before
        (tmp_path / "old").rename(tmp_path / "new")
        assert open_folder(tmp_path / "new").fingerprint() == before
        save(tmp_path / "new" / path.name, size=(30, 30))
        assert open_folder(tmp_path / "new").fingerprint() != before


def test_open_files_decode_too(tmp_path):
    path = save(tmp_path / "a.png")
    with path.open("rb") as file:
        np.testing.assert_array_equal(
            decode_image(file, resolution=8, channels=3), decode_image(path, resolution=8, channels=3)
        )
