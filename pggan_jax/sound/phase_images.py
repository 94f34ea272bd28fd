"""Images of magnitude and phase: `if`, `phase` (linear) and `if_mel` (as GANSynth)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pggan_jax.sound.instantaneous_frequency import (
    alternate_signs,
    instantaneous_frequency,
    phase_from,
    phase_of,
)
from pggan_jax.sound.mel import MelMap
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
    if representation.name == "if_mel":
        magnitude, second = _to_mel(representation, magnitude, second)
    return np.stack([magnitude, second], axis=-1)


def spectrum_of(representation: Representation, features: np.ndarray) -> np.ndarray:
    """The complex spectrogram [..., frames, n_fft / 2] that [..., frames, bins, 2] describes."""
    magnitude, second = features[..., 0], features[..., 1]
    phase = np.pi * second if representation.name == "phase" else phase_from(second)
    if representation.name == "if_mel":
        mel = _mel_map(representation)
        magnitude = 0.5 * np.log(mel.backward(np.exp(magnitude)) + representation.eps)
        phase = mel.backward(phase)
    magnitude = np.maximum(np.exp(magnitude) - representation.eps, 0)
    spectrum = np.empty(magnitude.shape, complex)
    spectrum.real, spectrum.imag = magnitude * np.cos(phase), magnitude * np.sin(phase)
    return alternate_signs(spectrum) if representation.phase_reference == "centre" else spectrum


def measure(representation: Representation, features: np.ndarray) -> list[tuple[float, float]]:
    """The ranges of the channels: magnitudes from their floor, phases in units of pi."""
    return [(math.log(representation.eps), float(features[..., 0].max())), (-1.0, 1.0)]


def _to_mel(representation: Representation, magnitude: np.ndarray, frequency: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log power and IF of mel bands.

    The weights do not sum to 1, so the phases of high bands wrap and are lost: a fault of the published method.
    """
    mel = _mel_map(representation)
    power = np.log(mel.forward(np.exp(2 * magnitude)) + representation.eps)
    return power, instantaneous_frequency(mel.forward(phase_from(frequency)))


def _mel_map(representation: Representation) -> MelMap:
    return MelMap(representation.n_fft // 2, representation.bins, representation.sample_rate)
