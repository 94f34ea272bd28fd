"""Images of magnitude and phase: `if`, `phase` (linear) and `if_mel` (as GANSynth)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pggan_jax.sound.instantaneous_frequency import (
    alternate_signs,
    instantaneous_frequency,
    phase_from,
    phase_of,
)
from pggan_jax.sound.stft import ClipTransform

if TYPE_CHECKING:
    from pggan_jax.sound.representations import Representation


def clip_transform(representation: Representation) -> ClipTransform:
    """The STFT of the representation's clips."""
    return ClipTransform(representation.n_fft, representation.hop, representation.frames, representation.samples)


def analyse(representation: Representation, wave: np.ndarray) -> np.ndarray:
    """Float64 [..., samples] to log magnitude and phase or IF, [..., frames, bins, 2]."""
    spectrum = clip_transform(representation).stft(wave)
    if representation.phase_reference == "centre":
        spectrum = alternate_signs(spectrum)
        spectrum[..., -1].imag = 0.0
    magnitude, phase = np.log(np.abs(spectrum) + representation.eps), phase_of(spectrum)
    second = phase / np.pi if representation.name == "phase" else instantaneous_frequency(phase)
    return np.stack([magnitude, second], axis=-1)


def spectrum_of(representation: Representation, features: np.ndarray) -> np.ndarray:
    """The complex spectrogram [..., frames, n_fft / 2] that [..., frames, bins, 2] describes."""
    magnitude, second = features[..., 0], features[..., 1]
    magnitude = np.maximum(np.exp(magnitude) - representation.eps, 0)
    phase = np.pi * second if representation.name == "phase" else phase_from(second)
    spectrum = magnitude * np.exp(1j * phase)
    return alternate_signs(spectrum) if representation.phase_reference == "centre" else spectrum


def synthesise(representation: Representation, features: np.ndarray) -> np.ndarray:
    """The wave, float64 [..., samples], of [..., frames, bins, 2]."""
    return clip_transform(representation).istft(spectrum_of(representation, features))
