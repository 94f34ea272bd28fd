"""Features of waves for the judge of notes and for the bins of timbres.

White noise and quiet parts must not decide: powers are in decibels below the loudest, down to -60.
"""

from __future__ import annotations

import itertools

import numpy as np

from pggan_jax.sound.stft import stft

BANDS, PARTS = 32, 8
_FLOOR_DB, _LOWEST_HZ = 60.0, 60.0
_TONAL_FFT, _TIMBRE_FFT, _HOP = 1024, 512, 256  # for 8 kHz


def tonal(waves: np.ndarray, sample_rate: int) -> np.ndarray:
    """Mean spectrum of each wave, in fine bins: it tells the pitch.

    Returns:
        float64 `[count, bins]` within 0 and 1; 512 bins at 8 kHz, 1,024 at 16 kHz.
    """
    factor = _factor(sample_rate)
    return np.stack([_relative(_powers(wave, _TONAL_FFT, factor=factor).mean(axis=0)[1:]) for wave in waves])


def timbre(waves: np.ndarray, sample_rate: int) -> np.ndarray:
    """Course of 32 bands over 8 parts of each wave, float64 `[count, 8, 32]` within 0 and 1."""
    factor = _factor(sample_rate)
    low, high = (1127 * np.log1p(hz / 700) for hz in (_LOWEST_HZ, sample_rate / 2))
    hertz = 700 * np.expm1(np.linspace(low, high, BANDS + 1) / 1127)
    edges = np.rint(_TIMBRE_FFT * factor * hertz / sample_rate).astype(int)
    spans = [slice(first, max(end, first + 1)) for first, end in itertools.pairwise(edges)]
    result = np.empty((len(waves), PARTS, BANDS))
    for index, wave in enumerate(waves):
        powers = _powers(wave, _TIMBRE_FFT, factor=factor)
        bands = np.stack([powers[:, span].sum(axis=1) for span in spans], axis=1)
        # A short clip may have fewer frames than parts: it repeats its last one.
        bands = np.pad(bands, [(0, max(0, PARTS - len(bands))), (0, 0)], mode="edge")
        result[index] = _relative(np.stack([part.mean(axis=0) for part in np.array_split(bands, PARTS)]))
    return result


def _factor(sample_rate: int) -> int:
    """Factor of all sizes, which are given for 8 kHz."""
    return 2 ** max(0, round(np.log2(sample_rate / 8000)))


def _powers(wave: np.ndarray, n_fft: int, *, factor: int) -> np.ndarray:
    n_fft, hop = n_fft * factor, _HOP * factor
    return np.square(np.abs(stft(np.pad(wave, n_fft // 2), n_fft, hop=hop)))


def _relative(powers: np.ndarray) -> np.ndarray:
    """Map decibels below the largest power from -60..0 to 0..1; silence is 0."""
    largest = powers.max()
    if largest <= 0:
        return np.zeros_like(powers)
    with np.errstate(divide="ignore"):
        return np.maximum(10 * np.log10(powers / largest), -_FLOOR_DB) / _FLOOR_DB + 1
