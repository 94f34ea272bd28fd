"""Short-time Fourier transform of clips, and its inverse, vectorised over leading axes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np


@lru_cache(maxsize=32)
def hann(n_fft: int) -> np.ndarray:
    """Periodic Hann window, float64 [n_fft]."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    window.flags.writeable = False
    return window


def stft(wave: np.ndarray, n_fft: int, *, hop: int) -> np.ndarray:
    """Transform float [..., samples] to complex [..., frames, n_fft / 2 + 1], without padding."""
    windows = np.lib.stride_tricks.sliding_window_view(wave, n_fft, axis=-1)[..., ::hop, :]
    return np.fft.rfft(windows * hann(n_fft), axis=-1)


def overlap_add(frames: np.ndarray, hop: int) -> np.ndarray:
    """Sum [..., frames, n_fft] at distances of hop: [..., (frames - 1) hop + n_fft]."""
    *leading, count, n_fft = frames.shape
    overlap = n_fft // hop
    parts = frames.reshape(*leading, count, overlap, hop)
    total = np.zeros((*leading, count + overlap - 1, hop), frames.dtype)
    for index in range(overlap):
        total[..., index : index + count, :] += parts[..., index, :]
    return total.reshape(*leading, (count + overlap - 1) * hop)


@dataclass(frozen=True)
class ClipTransform:
    """The STFT of clips with exactly `frames` frames and without DC; zeros are prepended.

    The inverse divides by the steady-state sum of the squared window, so the last n_fft - hop samples fade out:
    the exact sum would enlarge the errors of generated frames there.
    """

    n_fft: int
    hop: int
    frames: int
    samples: int

    @property
    def padding(self) -> int:
        """Number of zeros before the clip."""
        return self.hop * (self.frames - 1) + self.n_fft - self.samples

    @property
    def whole(self) -> ClipTransform:
        """The same without padding: for waves that begin with the first frame."""
        return replace(self, samples=self.samples + self.padding)

    def stft(self, wave: np.ndarray) -> np.ndarray:
        """Transform float [..., samples] to complex [..., frames, n_fft / 2]; the last bin is real."""
        padded = np.pad(wave, [(0, 0)] * (wave.ndim - 1) + [(self.padding, 0)])
        spectrum = stft(padded, self.n_fft, hop=self.hop)[..., 1:]
        spectrum[..., -1].imag = 0.0
        return spectrum

    def istft(self, spectrum: np.ndarray) -> np.ndarray:
        """Transform complex [..., frames, n_fft / 2] to float [..., samples]. DC is 0."""
        window = hann(self.n_fft)
        steady = (window**2).reshape(-1, self.hop).sum(axis=0)
        synthesis = window / np.tile(steady, self.n_fft // self.hop)
        full = np.pad(spectrum, [(0, 0)] * (spectrum.ndim - 1) + [(1, 0)])
        return overlap_add(np.fft.irfft(full, self.n_fft, axis=-1) * synthesis, self.hop)[..., self.padding :]

    def inconsistency(self, spectrum: np.ndarray) -> np.ndarray:
        """|| STFT(ISTFT(S)) - S || / || S ||, [...], of complex [..., frames, n_fft / 2].

        Near 0 if S is nearly the STFT of some wave; 0 for silence. The transforms are those of the whole frames, with DC.
        """
        again = stft(self.whole.istft(spectrum), self.n_fft, hop=self.hop)
        again[..., 1:] -= spectrum
        norm = np.linalg.norm(spectrum, axis=(-2, -1))
        return np.linalg.norm(again, axis=(-2, -1)) / np.where(norm > 0, norm, 1.0)
