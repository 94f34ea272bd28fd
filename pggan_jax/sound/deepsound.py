"""The one-channel images of pggan-pytorch (`abslog`, `reallog`, `raw`) and their inverses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pggan_jax.sound.stft import hann, overlap_add, stft

if TYPE_CHECKING:
    from pggan_jax.sound.representations import Representation

_LEAST_SHARE = 0.1


@dataclass(frozen=True)
class ReflectTransform:
    """The STFT with n_fft / 2 reflected samples on both sides, cut to `frames` frames.

    The inverse is the least-squares one. After the last frame, where windows no longer overlap, it fades out.
    """

    n_fft: int
    hop: int
    frames: int
    samples: int

    def stft(self, wave: np.ndarray) -> np.ndarray:
        """Transform float [..., samples] to complex [..., frames, n_fft / 2 + 1]."""
        half = self.n_fft // 2
        end = self.hop * (self.frames - 1) + half
        padded = np.pad(wave, [(0, 0)] * (wave.ndim - 1) + [(half, half)], mode="reflect")
        return stft(padded[..., : end + half], self.n_fft, hop=self.hop)

    def istft(self, spectrum: np.ndarray) -> np.ndarray:
        """Transform complex [..., frames, n_fft / 2 + 1] to float [..., samples]."""
        window, half = hann(self.n_fft), self.n_fft // 2
        power = overlap_add(np.tile(window**2, (self.frames, 1)), self.hop)
        total = overlap_add(np.fft.irfft(spectrum, self.n_fft, axis=-1) * window, self.hop)
        wave = (total / np.maximum(power, _LEAST_SHARE * power.max()))[..., half : half + self.samples]
        return np.pad(wave, [(0, 0)] * (wave.ndim - 1) + [(0, self.samples - wave.shape[-1])])


def reflect_transform(representation: Representation) -> ReflectTransform:
    """The STFT of the representation's clips."""
    return ReflectTransform(representation.n_fft, representation.hop, representation.frames, representation.samples)


def analyse(representation: Representation, wave: np.ndarray) -> np.ndarray:
    """Float64 [..., samples] to [..., frames, bins, 1]. The Nyquist bin is dropped, DC is kept."""
    if representation.name == "raw":
        side = representation.frames
        return wave[..., : side**2].reshape(*wave.shape[:-1], side, side, 1)
    spectrum = reflect_transform(representation).stft(wave)[..., :-1, None]
    if representation.name == "abslog":
        return np.log1p(np.abs(spectrum))
    return np.sign(spectrum.real) * np.log1p(np.abs(spectrum.real))


def magnitude_of(features: np.ndarray) -> np.ndarray:
    """Magnitudes [..., frames, n_fft / 2 + 1] of `abslog` images; Nyquist is 0."""
    return _with_nyquist(np.expm1(np.maximum(features[..., 0], 0)))


def synthesise(representation: Representation, features: np.ndarray) -> np.ndarray:
    """The wave of a `reallog` or `raw` image [..., frames, bins, 1], float64 [..., samples].

    The real part is the spectrum of half of each frame plus half of its mirror image in time, so it is doubled. The
    mirror image stays: a pre-echo.
    """
    if representation.name == "raw":
        wave = features.reshape(*features.shape[:-3], representation.frames**2)
        return np.pad(wave, [(0, 0)] * (wave.ndim - 1) + [(0, representation.samples - wave.shape[-1])])
    values = features[..., 0]
    real = 2 * np.sign(values) * np.expm1(np.abs(values))
    return reflect_transform(representation).istft(_with_nyquist(real))


def measure(representation: Representation, features: np.ndarray) -> list[tuple[float, float]]:
    """The range of the channel: from 0 for magnitudes, symmetric for signed values."""
    high = float(np.abs(features).max())
    return [(0.0 if representation.name == "abslog" else -high, high)]


def _with_nyquist(values: np.ndarray) -> np.ndarray:
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, 1)])
