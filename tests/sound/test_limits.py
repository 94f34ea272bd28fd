"""Sizes that are refused, each with what to choose instead."""

from __future__ import annotations

import math

import pytest

from pggan_jax.config.sound import SoundConfig, mel_warning, setting_problem
from pggan_jax.sound.representations import Representation


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"n_fft": 300}, "256 and 512"),
        ({"n_fft": 2}, "at least 4"),
        ({"n_fft": 2**40}, "at most 65536"),
        ({"frames": 10**9}, "at most 16384"),
        ({"hop": 100}, "64 and 128"),
        ({"hop": 300}, "near it are 256"),
        ({"hop": 0}, "at least 1"),
        ({"frames": 0}, "at least 1"),
        ({"length": 5000}, "4,224 samples at most"),
        ({"name": "raw", "length": 1000}, "needs 1,024"),
        ({"name": "abslog", "length": 3000}, "needs 3,968"),
        ({"mel_bins": 64}, "only on"),
        ({"name": "if_mel", "mel_bins": 200}, "exceed n_fft / 2 = 128"),
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


@pytest.mark.parametrize(("name", "least", "most"), [("if", 1, 4224), ("abslog", 3968, 10**6), ("raw", 1024, 10**6)])
def test_lengths_at_the_limits(name, least, most):
    for length in (least, most):
        assert Representation(name, length=length).samples == length
    with pytest.raises(ValueError, match="samples"):
        Representation(name, length=most + 1 if name == "if" else least - 1)


def test_few_mel_bands_are_worth_a_warning():
    assert not any(mel_warning(SoundConfig("if_mel", mel_bins=bands)) for bands in (0, 64, 128))
    assert "lose their pitch" in mel_warning(SoundConfig("if_mel", mel_bins=63))


def test_settings_of_raw_images_need_no_hop():
    assert setting_problem(SoundConfig("raw", hop=100)) == ("", "")
    assert Representation("raw", hop=100).shape == (32, 32, 1)
