"""Sizes that are refused, each with what to choose instead."""

from __future__ import annotations

import math

import pytest

from pggan_jax.sound.limits import length_limits, mel_warning, nearest_hops, nearest_powers
from pggan_jax.sound.representations import Representation


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"n_fft": 300}, "256 or 512"),
        ({"n_fft": 2}, "at least 4"),
        ({"hop": 100}, "64 or 128"),
        ({"hop": 300}, "such as 256"),
        ({"hop": 0}, "at least 1"),
        ({"frames": 0}, "at least 1"),
        ({"length": 5000}, "1 to 4224"),
        ({"name": "raw", "length": 1000}, "at least 1024"),
        ({"name": "abslog", "length": 3000}, "at least 3968"),
        ({"mel_bins": 64}, "linear"),
        ({"name": "if_mel", "mel_bins": 200}, "at most 128"),
        ({"name": "stft"}, "one of"),
        ({"phase_reference": "end"}, "centre or start"),
        ({"eps": 0.0}, "above 0"),
        ({"eps": math.nan}, "above 0"),
        ({"sample_rate": 0}, "at least 1"),
        ({"scale": ((0.0, 0.0), (1.0, 0.0))}, "factor above 0"),
        ({"scale": ((math.inf, 0.0), (1.0, 0.0))}, "factor above 0"),
    ],
)
def test_sizes_that_are_refused(fields, reason):
    with pytest.raises(ValueError, match=reason):
        Representation(**fields)


def test_the_nearest_values():
    assert (nearest_powers(256), nearest_powers(257), nearest_powers(1)) == ([256], [256, 512], [1])
    assert (nearest_hops(100, 256), nearest_hops(200, 256), nearest_hops(1000, 256)) == ([64, 128], [128, 256], [256])


@pytest.mark.parametrize("name", ["if", "abslog", "raw"])
def test_lengths_at_the_limits(name):
    least, most = length_limits(name, 256, hop=128, frames=32)
    for length in (least, min(most, 10**6)):
        assert Representation(name, length=int(length)).samples == length
    with pytest.raises(ValueError, match="samples"):
        Representation(name, length=least - 1 if least > 1 else int(most) + 1)


def test_few_mel_bands_are_worth_a_warning():
    assert not any(mel_warning(bands, 256) for bands in (0, 64, 128))
    assert "lose their pitch" in mel_warning(63, 256)
