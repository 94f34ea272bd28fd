"""Sounds with known formulas, and measures of how well they survive a round trip."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pggan_jax.sound.representations import Representation
from pggan_jax.sound.stft import stft

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "sound_reference_values.json").read_text(encoding="utf-8"))


def reference_signal(sample_rate: int, samples: int) -> np.ndarray:
    """The signal of the golden values: a decaying and a steady partial, a chirp and a hiss without random numbers."""
    n = np.arange(samples)
    t, f = n / sample_rate, 261.6255653005986
    return (
        0.5 * np.sin(2 * np.pi * f * t) * np.exp(-t / 0.25)
        + 0.25 * np.sin(2 * np.pi * 3 * f * t + 1)
        + 0.1 * np.sin(2 * np.pi * (200 * t + 400 * t**2))
        + 0.02 * ((7919 * n % 1009) / 504.5 - 1)
    )


def snr_db(wave: np.ndarray, copy: np.ndarray) -> np.ndarray:
    """Signal-to-noise ratio of [..., samples] in dB."""
    return 10 * np.log10((wave**2).sum(axis=-1) / ((wave - copy) ** 2).sum(axis=-1))


def spectral_convergence(wave: np.ndarray, copy: np.ndarray) -> np.ndarray:
    """Relative difference of magnitudes (Hann 512, hop 128) of [..., samples]."""
    real, fake = (np.abs(stft(one, 512, hop=128)) for one in (wave, copy))
    return np.linalg.norm(fake - real, axis=(-2, -1)) / np.linalg.norm(real, axis=(-2, -1))


def assert_cells(values: np.ndarray, golden: dict, *, period: float = 0.0) -> None:
    """Compare cells named 'row,column' with golden values, to 1e-9; phases modulo a period."""
    for key, wanted in golden.items():
        frame, cell = map(int, key.split(","))
        difference = values[frame, cell] - wanted
        if period:
            difference -= period * round(difference / period)
        assert abs(difference) <= 1e-9 * max(1, abs(wanted)), key


def fitted(representation: Representation, wave: np.ndarray) -> Representation:
    """The representation with the ranges of a wave."""
    return representation.fitted(representation.measure(wave))
