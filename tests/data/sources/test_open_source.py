"""`open_source` and the built-in data: real images at the wanted size, without a network."""

from __future__ import annotations

import pickle
import socket

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from pggan_jax.data.sources.open_source import _OPENERS, open_source
from pggan_jax.errors import UserError
from pggan_jax.source_kinds import SOURCE_KINDS


def read_all(source, count):
    return np.stack([source.read(index) for index in range(count)])


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
        open_source(spec, resolution=8)
    assert needle in str(caught.value)
    assert repr(spec) in str(caught.value)
    assert "\n" not in str(caught.value)


class TestDigits:
    def test_all_scans_with_their_labels(self):
        source = open_source("digits", resolution=8)
        assert (len(source), source.channels, source.class_names) == (1797, 1, tuple("0123456789"))
        assert [source.label(index) for index in range(1797)] == load_digits().target.tolist()

    def test_eight_pixels_are_the_scan_itself(self):
        source = open_source("digits", resolution=8)
        scans = np.rint(load_digits().images[:50] * 255 / 16)
        np.testing.assert_array_equal([source.read(index)[..., 0] for index in range(50)], scans)

    @pytest.mark.parametrize("resolution", [16, 32, 64])
    def test_enlarged_digits_look_like_the_scans(self, resolution):
        source = open_source("digits", resolution=resolution)
        factor = resolution // 8
        for index, scan in enumerate(load_digits().images[:50]):
            image = source.read(index)
            assert image.shape == (resolution, resolution, 1)
            assert image.dtype == np.uint8
            small = image[..., 0].reshape(8, factor, 8, factor).mean(axis=(1, 3))
            assert np.corrcoef(small.ravel(), scan.ravel())[0, 1] > 0.97

    def test_background_stays_black(self):
        """A pixel whose scan pixel and all its neighbours are empty has no ink to come from."""
        source = open_source("digits", resolution=64)
        for index, scan in enumerate(load_digits().images[:200]):
            padded = np.pad(scan, 1)
            neighbours = np.max([padded[y : y + 8, x : x + 8] for y in range(3) for x in range(3)], axis=0)
            empty = (neighbours == 0).repeat(8, 0).repeat(8, 1)
            assert not source.read(index)[empty].any()

    def test_below_eight_pixels_are_block_means(self):
        source = open_source("digits", resolution=4)
        means = load_digits().images[:20].reshape(20, 4, 2, 4, 2).mean(axis=(2, 4)) * 255 / 16
        np.testing.assert_allclose([source.read(index)[..., 0] for index in range(20)], means, atol=0.51)

    def test_default_size(self):
        assert open_source("digits").read(0).shape == (64, 64, 1)


class TestPhotos:
    def test_crops_depend_on_their_number_alone(self):
        first = open_source("photos", resolution=16)
        second = open_source("photos", resolution=16)
        assert first.class_names == ()
        assert first.channels == 3
        forward = read_all(first, 30)
        backward = [second.read(index) for index in reversed(range(30))][::-1]
        np.testing.assert_array_equal(forward, backward)
        assert len({image.tobytes() for image in forward}) == 30

    def test_needs_no_network(self, monkeypatch):
        def refuse(*_args, **_options):
            raise AssertionError("photos opened a connection")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        source = open_source("photos", resolution=256)
        assert source.read(len(source) - 1).shape == (256, 256, 3)

    def test_crops_are_square_inside_and_never_enlarged(self):
        source = open_source("photos", resolution=256)
        numbers = set()
        for index in range(300):
            number, (left, top, right, bottom) = source._crop(index)
            width, height = source._photos[number].size
            numbers.add(number)
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            assert right - left == bottom - top >= 256
        assert numbers == set(range(10))

    def test_pixels_are_a_photograph_s(self):
        """A crop at its own size is a cut-out; smaller ones are means of it, nearly."""
        source = open_source("photos", resolution=16)
        for index in range(10):
            number, box = source._crop(index)
            means = source._photos[number].resize((16, 16), Image.Resampling.BOX, box=box)
            difference = np.abs(source.read(index).astype(int) - np.asarray(means))
            assert difference.mean() < 12

    def test_no_larger_than_the_photographs(self):
        with pytest.raises(UserError, match=r"resolution 512: data.source = photos has at most 256; set 256, or use your own"):
            open_source("photos", resolution=512)


class TestProtocol:
    @pytest.mark.parametrize("spec", ["digits", "photos"])
    def test_worker_processes_get_the_same_source(self, spec):
        source = open_source(spec, resolution=16)
        copy = pickle.loads(pickle.dumps(source))
        np.testing.assert_array_equal(read_all(copy, 20), read_all(source, 20))
        assert copy.fingerprint() == source.fingerprint()
        assert copy.name == source.name == spec
        assert copy.problems == ()

    @pytest.mark.parametrize("spec", ["digits", "photos"])
    def test_items_have_names_of_their_own(self, spec):
        source = open_source(spec, resolution=16)
        names = {source.item_name(index) for index in range(len(source))}
        assert len(names) == len(source)
        assert all(name.isprintable() for name in names)

    def test_fingerprints_differ_between_sources(self):
        assert open_source("digits").fingerprint() != open_source("photos").fingerprint()

    def test_every_kind_can_be_opened(self):
        """`open_source` accepts every source that the settings accept."""
        assert set(_OPENERS) == set(SOURCE_KINDS)
