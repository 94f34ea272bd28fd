"""Changes of the sample rate: fractions, rounding, and equality with the plain call of SciPy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import resample_poly

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sounds.resampling import rate_change, resample

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "sound_reference_values.json").read_text())


def reference_signal(rate, length):
    """The test signal of the golden values."""
    n, f = np.arange(length), 440 * 2 ** (-9 / 12)
    t = n / rate
    x = 0.5 * np.sin(2 * np.pi * f * t) * np.exp(-t / 0.25) + 0.25 * np.sin(2 * np.pi * 3 * f * t + 1)
    return x + 0.1 * np.sin(2 * np.pi * (200 * t + 400 * t**2)) + 0.02 * ((7919 * n % 1009) / 504.5 - 1)


def test_values_of_the_reference():
    golden = GOLDEN["resample"]
    change = rate_change(golden["from"], golden["to"])
    wave = resample(reference_signal(golden["from"], golden["from"]), change)
    assert (change.up, change.down, change.cents) == (160, 441, 0)
    assert len(wave) == golden["length"]
    for place, value in golden["at"].items():
        assert wave[int(place)] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(("rate", "wanted"), [(44100, 8000), (8000, 16000), (22050, 16000), (48000, 48000)])
def test_the_kept_filter_is_that_of_the_library(rate, wanted):
    wave = np.random.default_rng(0).normal(size=3000)
    change = rate_change(rate, wanted)
    assert np.array_equal(resample(wave, change), resample_poly(wave, change.up, change.down))


def test_odd_rates_are_rounded_with_a_small_error():
    change = rate_change(44_101, 16_000)
    assert max(change.up, change.down) <= 1000
    assert 0 < abs(change.cents) < 0.1
    # The pitch of a tone of 1,000 Hz after the change.
    assert 1200 * np.log2(16_000 / (44_101 * change.up / change.down)) == pytest.approx(change.cents)


def test_upwards_too():
    change = rate_change(7_919, 16_000)
    assert max(change.up, change.down) <= 1000
    assert abs(change.cents) < 1


def test_exact_fractions_of_large_terms_are_kept():
    assert rate_change(4_999, 5_000)[:2] == (5000, 4999)


def test_a_rate_that_no_fraction_fits_is_refused():
    with pytest.raises(UnusableImageError, match="12,000,007 samples per second"):
        rate_change(12_000_007, 8000)
