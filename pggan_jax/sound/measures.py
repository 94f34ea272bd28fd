"""Measures of notes whose pitch is known.

Found pitch, harmonics against the rest, one period against the next. Each works on waves float64 `[count, samples]` without
a trained judge. Read pitch together with the harmonic-to-noise ratio: a pitch is also found in sounds that are mostly noise.
"""

from __future__ import annotations

import numpy as np

LIMIT_DB = 60.0
"""Largest absolute value of a harmonic-to-noise ratio; silence has the negative."""
_WINDOW_SECONDS, _PITCH_SECONDS = 0.128, 0.064
_LOWEST_HZ, _HIGHEST_HZ = 60, 1200
_UPSAMPLING, _THRESHOLD = 4, 0.15
_TINY = 1e-300
_AT_ONCE = 64


def hertz(pitch: np.ndarray | float) -> np.ndarray:
    """Frequency of MIDI pitches in Hz."""
    return 440.0 * 2.0 ** ((np.asarray(pitch, np.float64) - 69) / 12)


def loudest_start(waves: np.ndarray, length: int) -> np.ndarray:
    """Return where the `length` samples of most energy of each wave begin, int `[count]`."""
    sums = np.pad(np.cumsum(np.square(waves), axis=-1), [(0, 0), (1, 0)])
    # Rounding makes equal maxima equal, of which the first is taken.
    return np.argmax(np.round(sums[:, length:] - sums[:, : sums.shape[1] - length], 12), axis=-1)


def _cut(waves: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    return np.take_along_axis(waves, starts[:, None] + np.arange(length), axis=-1)


def find_pitch(waves: np.ndarray, sample_rate: int) -> np.ndarray:
    """Find the frequency of each wave by YIN, between 60 and 1200 Hz.

    The waves are upsampled by four: without that, notes at 8 kHz show errors of an octave.

    Returns:
        float64 `[count]` in Hz; 0 for silence, and for waves shorter than two periods of 60 Hz.
    """
    from scipy.signal import resample_poly

    rate = _UPSAMPLING * sample_rate
    first, last = rate // _HIGHEST_HZ, -(-rate // _LOWEST_HZ)
    window = min(int(_PITCH_SECONDS * sample_rate) * _UPSAMPLING, _UPSAMPLING * waves.shape[-1] - last)
    if window < last:
        return np.zeros(len(waves))
    found = []
    for start in range(0, len(waves), _AT_ONCE):
        fine = resample_poly(waves[start : start + _AT_ONCE], _UPSAMPLING, 1, axis=-1)
        pieces = _cut(fine, loudest_start(fine, window + last), window + last)
        found += [_period(one, first, last) for one in _normalized_differences(pieces, window, last)]
    return np.array([rate / period if period else 0.0 for period in found])


def _normalized_differences(pieces: np.ndarray, window: int, last: int) -> np.ndarray:
    """Return YIN's cumulative mean normalised differences of lags 0..last; all 1 for silence."""
    size = 1 << (pieces.shape[-1] + window - 1).bit_length()
    heads = np.fft.rfft(pieces[:, :window], size, axis=-1)
    products = np.fft.irfft(np.conj(heads) * np.fft.rfft(pieces, size, axis=-1), size, axis=-1)[:, : last + 1]
    sums = np.pad(np.cumsum(np.square(pieces), axis=-1), [(0, 0), (1, 0)])
    energies = sums[:, window : window + last + 1] - sums[:, : last + 1]
    differences = np.maximum(energies[:, :1] + energies - 2 * products, 0.0)
    result = np.ones_like(differences)
    totals = np.cumsum(differences[:, 1:], axis=-1)
    is_sound = (totals[:, -1] > 0) & (energies[:, 0] > 1e-20)
    ratios = differences[:, 1:] * np.arange(1, last + 1) / np.maximum(totals, _TINY)
    result[:, 1:] = np.where(is_sound[:, None], ratios, 1.0)
    return result


def _period(values: np.ndarray, first: int, last: int) -> float:
    """Return the period in samples, between lags, by a parabola; 0 if there is none."""
    inside = values[first:last]
    if np.all(inside == 1.0):
        return 0.0
    below = np.flatnonzero(inside < _THRESHOLD)
    if len(below):
        lag = first + int(below[0])
        while lag + 1 < last and values[lag + 1] < values[lag]:
            lag += 1
    else:
        lag = first + int(np.argmin(inside))
    before, here, after = values[lag - 1 : lag + 2]
    curvature = before - 2 * here + after
    return lag + (0.5 * (before - after) / curvature if curvature > 0 else 0.0)


def cents_off(found: np.ndarray, pitches: np.ndarray) -> np.ndarray:
    """Cents from asked pitches to found frequencies; infinite where none was found."""
    with np.errstate(divide="ignore"):
        return np.where(found > 0, 1200 * np.log2(np.maximum(found, _TINY) / hertz(pitches)), np.inf)


def can_be_found(pitches: np.ndarray) -> np.ndarray:
    """Whether `find_pitch` searches at the frequencies of MIDI pitches: from 35 to 86."""
    frequencies = hertz(pitches)
    return (frequencies >= _LOWEST_HZ) & (frequencies <= _HIGHEST_HZ)


def pitch_shares(waves: np.ndarray, pitches: np.ndarray, *, sample_rate: int) -> dict[str, float]:
    """Return shares of waves of right pitch, also but for octaves, and the median of cents.

    Waves whose asked pitch is not searched for do not count; not a number if there are no others.
    """
    counted = can_be_found(pitches)
    waves, pitches = waves[counted], pitches[counted]
    if not len(waves):
        return dict.fromkeys(("within_50_cents", "within_50_cents_of_an_octave", "median_cents"), float("nan"))
    cents = np.abs(cents_off(find_pitch(waves, sample_rate), pitches))
    folded = np.abs((np.where(np.isfinite(cents), cents, 600.0) + 600) % 1200 - 600)
    return {
        "within_50_cents": float(np.mean(cents <= 50)),
        "within_50_cents_of_an_octave": float(np.mean(folded <= 50)),
        "median_cents": float(np.median(cents)),
    }


def harmonics_to_noise(waves: np.ndarray, pitches: np.ndarray, *, sample_rate: int) -> np.ndarray:
    """Energy of the harmonics of the asked pitch against that of the rest, in dB.

    Harmonics below 0.45 of the sample rate are fitted by least squares to the 128 ms of most energy.

    Returns:
        float64 `[count]` within -60 and 60; -60 for silence.
    """
    length = min(int(_WINDOW_SECONDS * sample_rate), waves.shape[-1])
    pieces = _cut(waves, loudest_start(waves, length), length)
    seconds, result = np.arange(length) / sample_rate, np.empty(len(waves))
    for pitch in np.unique(pitches):
        own, frequency = pitches == pitch, float(hertz(pitch))
        multiples = np.arange(1, max(1, int(0.45 * sample_rate / frequency)) + 1)
        angles = 2 * np.pi * frequency * np.outer(seconds, multiples)
        basis, _ = np.linalg.qr(np.concatenate([np.cos(angles), np.sin(angles)], axis=1))
        fits = pieces[own] @ basis @ basis.T
        fit, rest = (np.square(part).sum(axis=-1) for part in (fits, pieces[own] - fits))
        ratio = 10 * np.log10(np.maximum(fit, _TINY) / np.maximum(rest, _TINY))
        result[own] = np.where(fit + rest > 0, np.clip(ratio, -LIMIT_DB, LIMIT_DB), -LIMIT_DB)
    return result


def coherence(waves: np.ndarray, pitches: np.ndarray, *, sample_rate: int) -> np.ndarray:
    """Correlate the 128 ms of most energy with themselves one period of the asked pitch later.

    Returns:
        float64 `[count]`: 1 for a steady note, about 0 for noise, 0 for silence.
    """
    from scipy.interpolate import CubicSpline

    samples = waves.shape[-1]
    length = min(int(_WINDOW_SECONDS * sample_rate), samples)
    starts, periods = loudest_start(waves, length), sample_rate / hertz(pitches)
    result = np.zeros(len(waves))
    for index, (wave, start, period) in enumerate(zip(waves, starts, periods, strict=True)):
        now = np.arange(start, start + length)
        now = now[now + period <= samples - 1]
        later = CubicSpline(np.arange(samples), wave)(now + period)
        energy = np.sqrt(np.square(wave[now]).sum() * np.square(later).sum())
        result[index] = (wave[now] * later).sum() / energy if energy > 0 else 0.0
    return result
