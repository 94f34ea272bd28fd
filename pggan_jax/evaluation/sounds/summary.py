"""All measures of notes beside real ones, as `experiments/check_notes.py` prints them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.evaluation.inception.feature_stats import FeatureStats
from pggan_jax.evaluation.metrics.fid import frechet_distance
from pggan_jax.evaluation.sounds import features
from pggan_jax.evaluation.sounds.bins import LEAST_PER_BIN, TimbreBins
from pggan_jax.evaluation.sounds.clips import ClipCollector, Clips
from pggan_jax.evaluation.sounds.judge import MOST_CLIPS, Judge, judgement, train_judge
from pggan_jax.sound import measures
from pggan_jax.sound.representations import Representation

COMPARED = 1040
"""Number of reals that are compared with."""
ENOUGH_REALS = 2 * COMPARED + MOST_CLIPS
"""Number of reals for all parts."""
_AT_ONCE = 128


@dataclass(frozen=True)
class Notes:
    """Notes and the pitches that were asked for.

    Attributes:
        waves: float64 `[count, samples]`.
        pitches: MIDI pitches, int `[count]`.
        inconsistency: of their complex spectrograms, float `[count]`; None if not known.
    """

    waves: np.ndarray
    pitches: np.ndarray
    inconsistency: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.waves)

    def part(self, start: int, stop: int) -> Notes:
        """Return the notes from number `start` to before `stop`."""
        own = None if self.inconsistency is None else self.inconsistency[start:stop]
        return Notes(self.waves[start:stop], self.pitches[start:stop], own)


def notes_of_images(images: np.ndarray, pitches: np.ndarray, *, representation: Representation) -> Notes:
    """Return the notes of images, with their inconsistency if the images have phases.

    Args:
        images: uint8, or float about [-1, 1] as the generator returns them, `[count, frames, bins, channels]`.
        pitches: int `[count]`.
        representation: how the images stand for sound.

    Raises:
        UserError: the images contain values that are not finite.
    """
    collector = ClipCollector(len(images))
    for start in range(0, len(images), _AT_ONCE):
        collector.add(Clips.of(images[start : start + _AT_ONCE], representation), start)
    clips = collector.finish()
    return Notes(clips.waves, pitches, clips.inconsistency if representation.channels == 2 else None)


@dataclass(frozen=True)
class Summary:
    """Measures of notes, by name.

    Attributes:
        values: of the notes.
        floor: of reals against other reals.
        judge_accuracy: of the judge on held-out reals.
        judge_problem: why the judge's numbers are left out; empty if they are there.
    """

    values: Mapping[str, float]
    floor: Mapping[str, float]
    judge_accuracy: float
    judge_problem: str


def summarize_notes(fakes: Notes, reals: Notes, *, sample_rate: int) -> Summary:
    """Measure notes, and reals beside them.

    Args:
        fakes: the notes to measure.
        reals: real notes, 3,640 for three disjoint parts: 1,040 (at most a third) to compare with, as many to stand
            beside, and up to 1,560 for the judge.
        sample_rate: samples per second.

    Raises:
        UserError: there are too few notes, or waves that are not finite.
    """
    compared = min(COMPARED, len(reals) // 3)
    if len(fakes) < 2 or compared < LEAST_PER_BIN:
        raise UserError(f"at least 2 notes and {3 * LEAST_PER_BIN} reals are needed, not {len(fakes)} and {len(reals)}")
    for name, one in (("the notes", fakes), ("the reals", reals)):
        if not np.isfinite(one.waves).all():
            raise UserError(f"{name} contain values that are not finite: the run has diverged")
    first, second = reals.part(0, compared), reals.part(compared, 2 * compared)
    known = Comparison(first, reals.part(2 * compared, 2 * compared + MOST_CLIPS), sample_rate=sample_rate)
    values, floor = ({**pitch_values(one, sample_rate), **known.values(one)} for one in (fakes, second))
    return Summary(values, floor, known.judge.accuracy, known.judge.problem)


def pitch_values(notes: Notes, sample_rate: int) -> dict[str, float]:
    """Measure notes without a judge."""
    harmonics = measures.harmonics_to_noise(notes.waves, notes.pitches, sample_rate=sample_rate)
    periods = measures.coherence(notes.waves, notes.pitches, sample_rate=sample_rate)
    values = {
        **measures.pitch_shares(notes.waves, notes.pitches, sample_rate=sample_rate),
        "hnr": float(np.median(harmonics)),
        "coherence": float(np.median(periods)),
        "peak": float(np.abs(notes.waves).max()),
    }
    if notes.inconsistency is not None:
        values["consistency"] = float(np.median(notes.inconsistency))
    return values


class Comparison:
    """Real notes to compare others with: bins of timbre, and a judge of further reals.

    Args:
        reals: to compare with; the judge is tested on them.
        training: other reals.
        sample_rate: samples per second.
    """

    def __init__(self, reals: Notes, training: Notes, *, sample_rate: int):
        self._rate = sample_rate
        tonals = features.tonal(reals.waves, sample_rate)
        self.judge: Judge = train_judge(
            training.waves, training.pitches, sample_rate=sample_rate, held_out=(tonals, reals.pitches)
        )
        self._stats = FeatureStats.of(self.judge.activations(tonals))
        self._bins = TimbreBins(features.timbre(reals.waves, sample_rate))

    def values(self, notes: Notes) -> Mapping[str, float]:
        """Compare notes with the reals; without the judge's numbers if it is not accurate."""
        binned = self._bins.compare(features.timbre(notes.waves, self._rate))
        values = {"ndb": binned.different, "bins": binned.bins, "jsd": binned.divergence}
        if self.judge.problem:
            return values
        tonals = features.tonal(notes.waves, self._rate)
        verdict = judgement(self.judge.probabilities(tonals), self.judge.places(notes.pitches))
        return {
            **values,
            "pitch_accuracy": verdict.accuracy,
            "pitch_accuracy_within_1": verdict.accuracy_within_1,
            "pitch_entropy": verdict.entropy,
            "inception_score": verdict.score,
            "fid": frechet_distance(self._stats, FeatureStats.of(self.judge.activations(tonals))),
        }
