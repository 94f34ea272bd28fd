"""Spectrograms as pictures: orientation, brightness, and one colour per partial of a clean note."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from pggan_jax.data.sounds.notes import note
from pggan_jax.sound.measures import hertz
from pggan_jax.sound.representations import Representation
from pggan_jax.sound.spectrogram_pictures import hue_pictures, magnitude_pictures

NOTES = Representation().fitted([(np.log(1e-3), 4.0), (-1.0, 1.0)])


def sine(frequency, representation=NOTES):
    times = np.arange(representation.samples) / representation.sample_rate
    return 0.5 * np.sin(2 * np.pi * frequency * times)


def distance(hues, wanted):
    """Between hues, which are on a circle."""
    return np.abs((hues - wanted + 0.5) % 1 - 0.5)


class TestMagnitude:
    def test_time_runs_to_the_right_and_low_notes_are_at_the_bottom(self):
        wave = sine(1000)
        wave[: NOTES.samples // 2] = 0
        (picture,) = magnitude_pictures(NOTES.encode(wave)[None], NOTES)
        assert picture.shape == (128, 32, 1)
        bin_of_1000 = 32
        row = 128 - bin_of_1000  # bins 1..128, the last one on top
        assert picture[:, 24, 0].argmax() == row
        assert picture[row, :14].max() == 0
        assert picture[row, 18:].min() > 150

    def test_black_is_the_floor_and_white_the_loudest_of_the_data(self):
        image = np.full((1, 2, 3, 2), -0.8)
        image[0, 0, 0, 0], image[0, 1, 1, 0] = 0.8, 0.0
        picture = magnitude_pictures(image, NOTES)[0, ..., 0]
        assert picture.shape == (3, 2)
        assert picture[2, 0] == 255
        assert picture[1, 1] == 128
        assert np.count_nonzero(picture) == 2

    def test_beyond_the_range_and_nan(self):
        image = np.zeros((1, 1, 3, 2))
        image[0, 0, :, 0] = np.nan, 7, -np.inf
        assert magnitude_pictures(image, NOTES)[0, :, 0, 0].tolist() == [0, 255, 128]

    def test_bytes_are_drawn_as_the_values_they_stand_for(self):
        image = NOTES.encode(note(17, sample_rate=8000, samples=4096))
        pictures = [magnitude_pictures(one, NOTES).astype(int) for one in (image, NOTES.to_bytes(image))]
        assert np.abs(pictures[0] - pictures[1]).max() <= 1

    def test_leading_axes_and_one_channel(self):
        plain = Representation("abslog", n_fft=64, hop=16, frames=32).fitted([(0.0, 3.0)])
        images = np.random.RandomState(0).uniform(-1, 1, (2, 3, 32, 32, 1))
        pictures = magnitude_pictures(images, plain)
        assert pictures.shape == (2, 3, 32, 32, 1)
        np.testing.assert_array_equal(pictures[1, 2], magnitude_pictures(images[1, 2], plain))
        with pytest.raises(ValueError, match="images of abslog hold no phase"):
            hue_pictures(images, plain)


class TestHue:
    @pytest.mark.parametrize("number", [0, 13, 26, 39, 30, 51])
    def test_a_clean_note_has_one_colour_per_partial(self, number):
        """That of the advance of its phase per frame."""
        image = NOTES.encode(note(number, sample_rate=8000, samples=4096))
        picture = hue_pictures(NOTES.to_bytes(image), NOTES)[:, 6:26] / 255
        assert picture.shape == (128, 20, 3)
        f0, seen = hertz(60 + number % 13), 0
        for harmonic in range(1, int(3600 / f0) + 1):
            row = 128 - round(harmonic * f0 * 256 / 8000)
            stripe = picture[row - 1 : row + 2].reshape(-1, 3)
            if stripe.max(axis=-1).min() < 0.4:
                continue  # a partial that this note lacks
            hues = np.array([colorsys.rgb_to_hsv(*pixel)[0] for pixel in stripe])
            assert distance(hues, harmonic * f0 * 128 / 8000).max() < 0.03, harmonic
            seen += 1
        assert seen >= 3

    def test_colours_close_at_the_ends_of_the_range(self):
        ends = np.zeros((1, 2, 1, 2))
        ends[0, :, 0, 1] = -0.8, 0.8
        left, right = hue_pictures(ends, NOTES)[0, 0]
        np.testing.assert_array_equal(left, right)

    def test_silence_is_black_whatever_its_phase(self):
        image = np.full((1, 4, 4, 2), -0.8)
        image[..., 1] = np.random.RandomState(0).uniform(-1, 1, (1, 4, 4))
        assert hue_pictures(image, NOTES).max() == 0

    def test_brightness_is_the_magnitude(self):
        image = np.random.RandomState(1).uniform(-0.8, 0.8, (5, 8, 16, 2))
        brightest = hue_pictures(image, NOTES).max(axis=-1, keepdims=True)
        assert np.abs(brightest.astype(int) - magnitude_pictures(image, NOTES)).max() <= 1
