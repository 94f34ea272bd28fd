"""Waves of a source, and how well sound survives becoming bytes of an image and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pggan_jax.data.images.decode import UnusableImageError, decoding_errors
from pggan_jax.data.sounds.spectrogram_source import SpectrogramSource, differences, representation_of
from pggan_jax.data.sources.source import Source
from pggan_jax.sound.representations import Representation
from pggan_jax.sound.stft import stft

CLIPS = 20
"""Clips of which `check` measures the round trip."""
MOST_CONVERGENCE = 0.3
"""A round trip of larger spectral convergence is refused by `check`."""
_WINDOW, _HOP = 512, 128
_MOST_DB = 200.0


@dataclass(frozen=True)
class RoundTrip:
    """The difference of some clips from their round trip.

    Attributes:
        clips: number of clips.
        snr: signal-to-noise ratio of the waves in dB: median, and that of the worst clip.
        convergence: spectral convergence: median, and that of the worst clip.
    """

    clips: int
    snr: tuple[float, float]
    convergence: tuple[float, float]

    @classmethod
    def of(cls, waves: list[np.ndarray], copies: list[np.ndarray]) -> RoundTrip | None:
        """Compare waves with their copies; None without any."""
        if not waves:
            return None
        pairs = list(zip(waves, copies, strict=True))
        snr = [snr_db(*pair) for pair in pairs]
        convergence = [spectral_convergence(*pair) for pair in pairs]
        return cls(len(pairs), (float(np.median(snr)), min(snr)), (float(np.median(convergence)), max(convergence)))

    @property
    def is_poor(self) -> bool:
        """Whether such images lose so much that training cannot give the sound."""
        # Also for waves that are no numbers.
        return not self.convergence[0] <= MOST_CONVERGENCE


def snr_db(wave: np.ndarray, copy: np.ndarray) -> float:
    """Return the signal-to-noise ratio of a copy in dB, -200 to 200."""
    signal, noise = float(np.sum(wave**2)), float(np.sum((wave - copy) ** 2))
    if noise == 0 or signal == 0:
        return _MOST_DB if noise == 0 else -_MOST_DB
    return float(np.clip(10 * np.log10(signal / noise), -_MOST_DB, _MOST_DB))


def spectral_convergence(wave: np.ndarray, copy: np.ndarray) -> float:
    """Return the relative difference of magnitudes (Hann 512, hop 128), 0 to 1e6."""
    padding = (0, max(0, _WINDOW - len(wave)))
    real, fake = (np.abs(stft(np.pad(one, padding), _WINDOW, hop=_HOP)) for one in (wave, copy))
    difference, size = float(np.linalg.norm(fake - real)), float(np.linalg.norm(real))
    return min(difference / size, 1e6) if size else float(difference > 0) * 1e6


def wave_of(source: Source, index: int) -> np.ndarray:
    """Return clip `index` of a source of sound, prepared or not, float64 `[samples]`.

    Raises:
        UnusableImageError: it cannot be used.
    """
    if isinstance(source, SpectrogramSource):
        with decoding_errors():
            return source.waves.read(index)
    return _representation(source).decode(np.asarray(source.read(index)))


def rate_of(source: Source) -> int:
    """Return the sample rate of the clips of a source of sound."""
    return _representation(source).sample_rate


def through_bytes(wave: np.ndarray, representation: Representation) -> np.ndarray:
    """Return a wave after its round trip through the bytes of a training image."""
    return representation.decode(representation.to_bytes(representation.encode(wave)))


def is_sound(source: Source) -> bool:
    """Whether the images of a source are made of sound."""
    return representation_of(source) is not None


def fitted_to(source: Source, waves: list[np.ndarray]) -> Representation:
    """Return the representation of a source; ranges not known yet are those of some clips."""
    representation = _representation(source)
    if representation.is_fitted:
        return representation
    measured = [representation.measure(wave) for wave in waves]
    return representation.fitted([(min(a for a, _ in one), max(b for _, b in one)) for one in zip(*measured, strict=True)])


def fitted_together(first: Source, second: Source) -> tuple[Source, Source]:
    """Return two sources whose images can be compared; images are returned as they are.

    A source of sound whose ranges are not known takes those of the other, if that has the same representation; else they are
    measured in all its clips.
    """
    return _fitted_like(first, second), _fitted_like(second, first)


def _fitted_like(source: Source, other: Source) -> Source:
    if not isinstance(source, SpectrogramSource) or source.representation.is_fitted:
        return source
    known = representation_of(other)
    if known is not None and known.is_fitted and not differences(known, source.settings):
        return SpectrogramSource(source.waves, source.settings, fitted=known)
    return source.fitted(np.arange(len(source)))


def some_waves(source: Source, numbers: np.ndarray, *, count: int = CLIPS) -> tuple[list[int], list[np.ndarray]]:
    """Return numbers and waves of about `count` usable clips, evenly spread over `numbers`."""
    chosen, waves = [], []
    for place in np.unique(np.linspace(0, len(numbers) - 1, min(count, len(numbers))).astype(int)).tolist():
        try:
            wave = wave_of(source, int(numbers[place]))
        except UnusableImageError:
            continue
        chosen.append(int(numbers[place]))
        waves.append(wave)
    return chosen, waves


def _representation(source: Source) -> Representation:
    found = representation_of(source)
    assert found is not None, f"{source.name} is no sound"
    return found
