"""From notes to one wave: a latent for each note, its envelope, and the mixture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pggan_jax.generation.melodies.notes import Note
from pggan_jax.generation.walks import slerp

PEAK = 0.5
"""Of a finished melody."""
_ATTACK_SECONDS = 0.01
_RELEASE_SECONDS, _SHORT_RELEASE_SECONDS = 0.3, 0.1
_LOUDEST = 127


def number_of_timbres(total: float, seconds_per_timbre: float) -> int:
    """Return the number of latents of a melody of `total` seconds: 2 or more."""
    return max(2, math.floor(total / seconds_per_timbre) + 1)


def latents_of_notes(notes: Sequence[Note], timbres: np.ndarray) -> np.ndarray:
    """Interpolate between latents at equal times, from the start of a melody to its last end.

    Args:
        notes: of the melody.
        timbres: latents `[1 or more, size]`; a single one stays.

    Returns:
        The latent at the start of each note, `[notes, size]`.
    """
    total = max(note.end for note in notes)
    places = np.array([note.start for note in notes]) / total * (len(timbres) - 1)
    first = np.minimum(places.astype(int), max(0, len(timbres) - 2))
    second = np.minimum(first + 1, len(timbres) - 1)
    return slerp(timbres[first], timbres[second], places - first)


@dataclass(frozen=True)
class Envelope:
    """Loudness of a note over time: a linear attack, a hold, and a linear release, in samples.

    Attributes:
        sample_rate: in Hz.
        attack: samples from silence to full loudness.
        release: samples from full loudness to silence, after the end of the note.
        longest_hold: samples up to the release, attack included.
    """

    sample_rate: int
    attack: int
    release: int
    longest_hold: int

    @classmethod
    def for_clips(cls, samples: int, sample_rate: int) -> Envelope:
        """Return the envelope for clips of so many samples; no note is longer than its clip."""
        seconds = _RELEASE_SECONDS if samples >= sample_rate else _SHORT_RELEASE_SECONDS
        release = min(round(seconds * sample_rate), samples // 2)
        return cls(sample_rate, round(_ATTACK_SECONDS * sample_rate), release, samples - release)

    def of(self, seconds: float) -> np.ndarray:
        """Return the factors for a note of some seconds: float64 `[hold + release]`."""
        hold = min(max(1, round(seconds * self.sample_rate)), self.longest_hold)
        attack = min(self.attack, hold)
        return np.concatenate(
            [np.linspace(0, 1, attack, endpoint=True), np.ones(hold - attack), np.linspace(1, 0, self.release, endpoint=True)]
        )

    def length(self, notes: Sequence[Note]) -> int:
        """Return the samples of a melody: to the last end, and a release."""
        return round(max(note.end for note in notes) * self.sample_rate) + self.release


def mix(notes: Sequence[Note], waves: Iterable[np.ndarray], envelope: Envelope) -> np.ndarray:
    """Add notes, each with its envelope and velocity, and scale the sum to a peak of `PEAK`.

    Args:
        notes: of the melody.
        waves: of each note, `[samples]`, taken one by one.
        envelope: for clips of that length.

    Returns:
        float64 `[envelope.length(notes)]`; silence stays silence.
    """
    total = np.zeros(envelope.length(notes))
    for note, wave in zip(notes, waves, strict=True):
        factors = envelope.of(note.end - note.start)
        start = round(note.start * envelope.sample_rate)
        # Rounding start, end and length may differ by a sample.
        count = min(len(factors), len(total) - start)
        total[start : start + count] += (note.velocity / _LOUDEST) * factors[:count] * wave[:count]
    peak = np.max(np.abs(total), initial=0.0)
    return total * (PEAK / peak) if peak > 0 else total
