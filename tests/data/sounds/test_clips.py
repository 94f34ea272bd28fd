"""Clips of exact rate and length out of sound in memory: every rule of the specification (sound 1.8)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import resample_poly

from pggan_jax.config.sound import SoundConfig
from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sounds.audio_files import AudioArray
from pggan_jax.data.sounds.clips import SILENT_WINDOW, count_windows, read_clip
from tests.helpers.audio_samples import tone

CONFIG = SoundConfig()
SAMPLES, RATE = 4096, 8000


def clip_of(*channels, rate=RATE, window=0, encoding="", **settings):
    audio = AudioArray(np.stack(channels, axis=1), rate, encoding)
    return read_clip(audio, replace(CONFIG, **settings), window=window)


def reason(*channels, rate=RATE, window=0, **settings):
    with pytest.raises(UnusableImageError) as caught:
        clip_of(*channels, rate=rate, window=window, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestLength:
    def test_a_fitting_wave_is_unchanged(self):
        clip = clip_of(tone())
        assert clip.wave.dtype == np.float64
        assert np.array_equal(clip.wave, tone())
        assert clip.remarks == {}
        assert (clip.rate, clip.channels, clip.seconds) == (RATE, 1, SAMPLES / RATE)

    def test_zeros_are_appended_to_short_ones(self):
        clip = clip_of(tone(1000))
        assert np.array_equal(clip.wave, np.r_[tone(1000), np.zeros(SAMPLES - 1000)])
        assert list(clip.remarks) == ["short"]

    def test_a_quarter_of_a_window_is_the_least(self):
        assert len(clip_of(tone(64, frequency=1000)).wave) == SAMPLES
        assert reason(tone(63)).startswith("is too short (63 samples at 8,000 Hz, at least 64)")

    def test_the_first_part_of_long_ones(self):
        assert np.array_equal(clip_of(tone(20_000)).wave, tone(20_000)[:SAMPLES])

    def test_the_loudest_part(self):
        quiet, loud = tone(9000, peak=0.1), tone(SAMPLES, peak=0.8)
        clip = clip_of(np.r_[quiet, loud, quiet], take="loudest")
        assert np.array_equal(clip.wave, loud)

    def test_the_loudest_part_of_another_rate(self):
        loud = slice(24_000, 24_000 + 2 * SAMPLES)
        wave = 0.01 * tone(60_000, rate=16_000)
        wave[loud] *= 50
        start = np.abs(resample_poly(wave, 1, 2))
        clip = clip_of(wave, rate=16_000, take="loudest")
        assert np.abs(clip.wave[50:-50]).max() == pytest.approx(start.max(), rel=0.05)
        assert np.mean(clip.wave**2) > 0.98 * np.mean(resample_poly(wave, 1, 2)[12_000:16_096] ** 2)

    def test_the_first_of_equal_windows(self):
        wave = np.zeros(4 * SAMPLES)
        wave[100], wave[9000] = 0.5, 0.5
        assert clip_of(wave, take="loudest").wave[100] == 0.5

    def test_slices(self):
        wave = tone(3 * SAMPLES + 100)
        wave[SAMPLES : 2 * SAMPLES] = 1e-4 * tone()
        assert count_windows(len(wave), RATE, CONFIG) == 3
        assert np.array_equal(clip_of(wave, take="slices", window=2).wave, wave[2 * SAMPLES : 3 * SAMPLES])
        assert reason(wave, take="slices", window=1) == SILENT_WINDOW

    def test_a_short_file_has_one_slice(self):
        assert count_windows(100, RATE, CONFIG) == 1
        assert list(clip_of(tone(1000), take="slices").remarks) == ["short"]


class TestRates:
    @pytest.mark.parametrize("rate", [44_100, 16_000, 11_025])
    @pytest.mark.parametrize("window", [0, 1, 3])
    def test_a_window_equals_that_part_of_the_whole(self, rate, window):
        wave = np.random.default_rng(1).normal(size=4 * SAMPLES * rate // RATE + 77) * 0.1
        change = np.gcd(rate, RATE)
        whole = resample_poly(wave - 0, RATE // change, rate // change)
        clip = clip_of(wave, rate=rate, take="slices", window=window)
        part = whole[window * SAMPLES : (window + 1) * SAMPLES]
        np.testing.assert_allclose(clip.wave, part, atol=1e-12)

    def test_little_is_read_of_a_long_file(self):
        asked = []

        class Long(AudioArray):
            def read(self, start, count):
                asked.append((start, count))
                return super().read(start, count)

        read_clip(Long(tone(10**6, rate=44_100)[:, None], 44_100), CONFIG)
        assert len(asked) == 1
        assert asked[0][0] == 0
        assert asked[0][1] < 1.02 * SAMPLES * 44_100 / RATE

    def test_the_pitch_stays(self):
        clip = clip_of(tone(44_100, frequency=1000, rate=44_100), rate=44_100)
        assert np.argmax(np.abs(np.fft.rfft(clip.wave))) * RATE / SAMPLES == pytest.approx(1000, abs=2)

    def test_lower_rates_leave_an_empty_band(self):
        clip = clip_of(tone(8000, rate=4000), rate=4000)
        assert clip.remarks == {"low_rate": "4,000 Hz: contains nothing above 2,000 Hz"}
        spectrum = np.abs(np.fft.rfft(clip.wave * np.hanning(SAMPLES)))
        assert spectrum[SAMPLES * 2200 // RATE :].max() < 1e-3 * spectrum.max()

    def test_odd_rates(self):
        assert clip_of(tone(60_000), rate=44_101).remarks["odd_rate"].startswith("44,101 Hz: ")
        assert "no simple fraction" in reason(tone(10**5), rate=12_000_007)


class TestChannels:
    LEFT, RIGHT = tone(), tone(frequency=660)

    @pytest.mark.parametrize(
        ("channel", "expected"), [("mean", (LEFT + RIGHT) / 2), ("left", LEFT), ("right", RIGHT), ("1", RIGHT)]
    )
    def test_the_chosen_one(self, channel, expected):
        assert np.array_equal(clip_of(self.LEFT, self.RIGHT, channel=channel).wave, expected)

    def test_one_that_is_not_there(self):
        assert reason(self.LEFT, self.RIGHT, channel="2").startswith("has 2 channels, not sound.channel = 2")

    def test_left_and_right_of_a_single_channel(self):
        assert np.array_equal(clip_of(self.LEFT, channel="right").wave, self.LEFT)

    def test_channels_that_cancel_are_not_called_silent(self):
        assert reason(self.LEFT, -self.LEFT) == "has channels that cancel in the mean; set sound.channel=left"
        assert reason(0 * self.LEFT, 0 * self.LEFT).startswith("is silent")

    def test_opposite_signs_are_said(self):
        assert "opposite" in clip_of(self.LEFT, -0.9 * self.LEFT).remarks
        assert "opposite" not in clip_of(self.LEFT, -0.9 * self.LEFT, channel="left").remarks
        assert "opposite" not in clip_of(self.LEFT, self.RIGHT).remarks
        assert "opposite" not in clip_of(self.LEFT, -0.7 * self.LEFT).remarks


class TestValues:
    @pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
    def test_no_numbers(self, wrong):
        wave = tone()
        wave[7] = wrong
        assert reason(wave).startswith("holds values that are no numbers")

    def test_silence(self):
        assert reason(np.full(SAMPLES, 9e-5) * tone()).startswith("is silent")
        assert reason(np.zeros(SAMPLES)).startswith("is silent")
        assert not clip_of(np.zeros(SAMPLES), keep_silence=True, level="peak").wave.any()

    def test_a_constant_is_silence(self):
        assert reason(np.full(SAMPLES, 0.5)).startswith("is silent")

    def test_an_offset_is_removed_above_a_hundredth_of_the_peak(self):
        assert np.array_equal(clip_of(tone() + 0.002).wave, tone() + 0.002)
        clip = clip_of(tone() + 0.1)
        assert abs(clip.wave.mean()) < 1e-12
        assert list(clip.remarks) == ["offset"]

    def test_an_offset_of_a_short_file_does_not_reach_its_zeros(self):
        clip = clip_of(tone(1000) + 0.1)
        assert not clip.wave[1000:].any()
        assert abs(clip.wave[:1000].mean()) < 1e-12

    def test_values_beyond_one_are_kept(self):
        clip = clip_of(tone(peak=3.0))
        assert np.array_equal(clip.wave, tone(peak=3.0))
        assert clip.remarks == {"beyond": "3.00"}

    def test_clipped_ones_are_counted(self):
        assert "clipped" in clip_of(np.clip(tone(peak=1.5), -0.99, 0.99)).remarks
        assert "clipped" in clip_of(np.clip(tone(peak=1.5), -2, 0.8)).remarks
        assert "clipped" not in clip_of(np.rint(tone(peak=0.9) * 2**15) / 2**15).remarks
        assert "clipped" not in clip_of(np.rint(tone(peak=0.9) * 2**7) / 2**7, encoding="WAV PCM_U8").remarks
        assert "clipped" in clip_of(np.clip(tone(peak=1.5), -1, 127 / 128), encoding="WAV PCM_U8").remarks


class TestLevel:
    def test_peak_and_rms(self):
        assert np.abs(clip_of(tone(), level="peak").wave).max() == pytest.approx(0.9)
        energies = [np.mean(clip_of(tone(peak=peak), level="rms").wave ** 2) for peak in (0.01, 0.5)]
        assert energies == pytest.approx([0.01, 0.01])
