"""A second implementation of the built-in notes, for tests of the representations."""

from __future__ import annotations

import math

import numpy as np


def plain_note(number: int, *, sample_rate: int = 8000, samples: int = 4096) -> np.ndarray:
    """Note `number`: pitch 60 + number mod 13, family number // 13 mod 4. Float64 [samples]."""
    rng = np.random.Generator(np.random.Philox(key=np.array([2018, number], np.uint64)))
    f0 = 440 * 2 ** ((60 + number % 13 - 69) / 12)
    bright, loud = rng.uniform(), rng.uniform(0.4, 0.9)
    phases, u = rng.uniform(0, 2 * np.pi, 32), rng.uniform(size=8)
    t = np.arange(samples) / sample_rate
    wave = np.zeros(samples)
    for k in range(1, min(int(0.45 * sample_rate / f0), 32) + 1):
        amplitude = _AMPLITUDES[number // 13 % 4](k, t, bright, u)
        wave += amplitude * np.sin(2 * np.pi * f0 * k * t + phases[k - 1])
    release = int(0.04 * sample_rate)
    wave[-release:] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, release + 1) / release)
    return wave * loud / np.abs(wave).max()


def _organ(k, t, bright, u):
    if k not in (1, 2, 3, 4, 6, 8):
        return 0.0
    j = (1, 2, 3, 4, 6, 8).index(k)
    return (0.1 + 0.9 * u[j]) * (0.5 + 0.5 * bright) ** j * np.minimum(1, t / 0.01)


def _pluck(k, t, bright, u):
    decay = np.exp(-t * (1 + 0.35 * (k - 1) * (1.2 - bright)) / (0.15 + 0.45 * u[1]))
    return abs(math.sin(math.pi * k * (0.1 + 0.4 * u[0]))) * k ** -(1.8 - 0.8 * bright) * decay * np.minimum(1, t / 0.002)


def _reed(k, t, bright, u):
    return (k ** -(1.6 - 0.9 * bright) if k % 2 else 0.06 * bright / k) * np.minimum(1, t / (0.02 + 0.04 * u[0]))


def _brass(k, t, bright, u):
    return k ** -(2.2 - 1.2 * bright + 2 * np.exp(-t / (0.02 + 0.08 * u[0]))) * np.minimum(1, t / 0.015)


_AMPLITUDES = (_organ, _pluck, _reed, _brass)
