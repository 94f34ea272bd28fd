"""Phase, its change from frame to frame (instantaneous frequency, IF), and back."""

from __future__ import annotations

import numpy as np


def phase_of(spectrum: np.ndarray) -> np.ndarray:
    """Phase in radians, in [-pi, pi]; 0 in silent cells (adding 0.0 clears negative zeros)."""
    return np.angle(spectrum + 0.0)


def instantaneous_frequency(phase: np.ndarray) -> np.ndarray:
    """Phase in radians [..., frames, bins] to IF in units of pi.

    Row 0 is the phase itself, the others are wrapped differences: those of the unwrapped phase, without its rounding
    errors. They lie in [-1, 1].
    """
    steps = np.diff(phase, axis=-2) / np.pi
    steps -= 2 * np.rint(steps / 2)
    return np.concatenate([phase[..., :1, :] / np.pi, np.clip(steps, -1, 1)], axis=-2)


def phase_from(frequency: np.ndarray) -> np.ndarray:
    """IF [..., frames, bins] to unwrapped phase in radians."""
    return np.pi * np.cumsum(frequency, axis=-2)


def alternate_signs(spectrum: np.ndarray) -> np.ndarray:
    """Multiply bin k = 1 .. of [..., bins] by (-1)^k. Twice is nothing.

    Phases then refer to the middle of a frame instead of its start, and neighbouring bins of a partial agree.
    """
    changed = spectrum.copy()
    changed[..., ::2] *= -1
    return changed
