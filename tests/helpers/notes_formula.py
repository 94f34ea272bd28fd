"""The built-in notes by their formula, one harmonic after another: a second implementation for tests."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

FAMILIES = ("organ", "pluck", "reed", "brass")


def note(number: int, *, sample_rate: int = 8000, length: int = 4096, seed: int = 2018) -> np.ndarray:
    """One note, float64 `[length]`."""
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))
    bright, loud = rng.uniform(0, 1), rng.uniform(0.4, 0.9)
    phases, u = rng.uniform(0, 2 * np.pi, 32), rng.uniform(0, 1, 8)
    f0 = frequency(60 + number % 13)
    t = np.arange(length) / sample_rate
    wave = np.zeros(length)
    for k in range(1, min(int(0.45 * sample_rate / f0), 32) + 1):
        wave += _amplitude(FAMILIES[number // 13 % 4], k, t, bright, u) * np.sin(2 * np.pi * f0 * k * t + phases[k - 1])
    release = int(0.04 * sample_rate)
    wave[-release:] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, release + 1) / release)
    return wave * loud / np.abs(wave).max()


def notes(numbers: Iterable[int], *, sample_rate: int = 8000, length: int = 4096) -> tuple[np.ndarray, np.ndarray]:
    """Several notes, float64 `[count, length]`, and their pitches."""
    numbers = list(numbers)
    waves = np.stack([note(number, sample_rate=sample_rate, length=length) for number in numbers])
    return waves, 60 + np.array(numbers) % 13


def frequency(pitch: float) -> float:
    return 440 * 2 ** ((pitch - 69) / 12)


def _amplitude(family: str, k: int, t: np.ndarray, bright: float, u: np.ndarray) -> np.ndarray | float:
    if family == "organ":
        partials = (1, 2, 3, 4, 6, 8)
        if k not in partials:
            return 0.0
        j = partials.index(k)
        return (0.1 + 0.9 * u[j]) * (0.5 + 0.5 * bright) ** j * np.minimum(1, t / 0.01)
    if family == "pluck":
        position, tau = 0.1 + 0.4 * u[0], 0.15 + 0.45 * u[1]
        decay = np.exp(-t * (1 + 0.35 * (k - 1) * (1.2 - bright)) / tau)
        return abs(np.sin(np.pi * k * position)) * k ** -(1.8 - 0.8 * bright) * decay * np.minimum(1, t / 0.002)
    if family == "reed":
        strength = k ** -(1.6 - 0.9 * bright) if k % 2 else 0.06 * bright / k
        return strength * np.minimum(1, t / (0.02 + 0.04 * u[0]))
    rise = 0.02 + 0.08 * u[0]
    return k ** -(2.2 - 1.2 * bright + 2 * np.exp(-t / rise)) * np.minimum(1, t / 0.015)
