"""Griffin-Lim: waves from magnitudes, with the momentum of its fast form."""

from __future__ import annotations

from typing import Protocol

import numpy as np

STEPS, MOMENTUM = 60, 0.99


class Transform(Protocol):
    """An STFT with a fixed number of frames."""

    def stft(self, wave: np.ndarray) -> np.ndarray:
        """Float [..., samples] to complex [..., frames, bins]."""

    def istft(self, spectrum: np.ndarray) -> np.ndarray:
        """Complex [..., frames, bins] to float [..., samples]."""


def griffin_lim(
    magnitude: np.ndarray,
    phase: np.ndarray,
    *,
    transform: Transform,
    steps: int = STEPS,
    momentum: float = MOMENTUM,
    record: list[np.ndarray] | None = None,
) -> np.ndarray:
    """Search a wave with the given magnitudes.

    Args:
        magnitude: float [..., frames, bins].
        phase: radians at the start, of the same shape.
        transform: the STFT and its inverse.
        steps: number of projections.
        momentum: 0: as published in 1984; near 1: faster.
        record: receives the inconsistency [...] of each step: || |S| - magnitude || / || magnitude ||.

    Returns:
        float [..., samples].
    """
    spectrum, previous = magnitude * np.exp(1j * phase), np.zeros((), complex)
    for _ in range(steps):
        found = transform.stft(transform.istft(spectrum))
        if record is not None:
            record.append(_relative(np.abs(found) - magnitude, magnitude))
        target = found + momentum * (found - previous)
        spectrum, previous = magnitude * _unit(target), found
    return transform.istft(spectrum)


def start_phase(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Random phases in [-pi, pi), the same for the same seed."""
    return np.random.default_rng(seed).uniform(-np.pi, np.pi, shape)


def _unit(values: np.ndarray) -> np.ndarray:
    """Divide by the absolute value; 1 where that is 0."""
    size = np.abs(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(size > 0, values / size, 1.0)


def _relative(difference: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Quotient of the norms over frames and bins; 0 where the reference is 0."""
    norm = np.linalg.norm(reference, axis=(-2, -1))
    return np.linalg.norm(difference, axis=(-2, -1)) / np.where(norm > 0, norm, 1.0)
