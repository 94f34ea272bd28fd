"""Pitch, harmonics and coherence of notes, without a trained judge.

Read `pitch` together with `hnr`: a pitch is also found in sounds that are mostly noise.
"""

from __future__ import annotations

import numpy as np

from pggan_jax.evaluation.metric import Collected, Metric, MetricContext
from pggan_jax.evaluation.metric_result import MetricResult
from pggan_jax.evaluation.sounds.clips import Clips, collect_clips, pitches_of_classes
from pggan_jax.metric_kinds import MetricKind
from pggan_jax.sound import measures


def _notes(data: Collected, context: MetricContext) -> tuple[Clips, np.ndarray]:
    """Return clips and the pitches that were asked for."""
    return data["clips"], pitches_of_classes(context.reals.loader)[data["classes"]]


def _pitch(_: Collected, fakes: Collected, context: MetricContext) -> MetricResult:
    clips, pitches = _notes(fakes, context)
    left_out = int((~measures.can_be_found(pitches)).sum())
    notes = (f"{left_out:,} of {len(pitches):,} notes, of MIDI pitches below 35 or above 86, do not count",) if left_out else ()
    return MetricResult(measures.pitch_shares(clips.waves, pitches, sample_rate=clips.sample_rate), notes=notes)


def _hnr(_: Collected, fakes: Collected, context: MetricContext) -> MetricResult:
    clips, pitches = _notes(fakes, context)
    return _quartiles(measures.harmonics_to_noise(clips.waves, pitches, sample_rate=clips.sample_rate))


def _coherence(_: Collected, fakes: Collected, context: MetricContext) -> MetricResult:
    clips, pitches = _notes(fakes, context)
    return _quartiles(measures.coherence(clips.waves, pitches, sample_rate=clips.sample_rate))


def _consistency(_: Collected, fakes: Collected, context: MetricContext) -> MetricResult:
    del context
    return _quartiles(fakes["clips"].inconsistency)


def _quartiles(values: np.ndarray) -> MetricResult:
    lower, median, upper = np.quantile(values, [0.25, 0.5, 0.75])
    return MetricResult({"median": float(median), "lower_quarter": float(lower), "upper_quarter": float(upper)})


PITCH = Metric(
    MetricKind(
        "pitch",
        help="sound: share of notes whose pitch is within 50 cents of the asked one",
        headline="within_50_cents",
        default_images=1040,
        larger_is_better=True,
        measures_sound=True,
        needs_pitch=True,
        during_training=True,
    ),
    compute=_pitch,
    collect={"clips": collect_clips},
)
HNR = Metric(
    MetricKind(
        "hnr",
        help="sound: energy of the harmonics of the asked pitch against the rest, in dB",
        headline="median",
        default_images=1040,
        larger_is_better=True,
        measures_sound=True,
        needs_pitch=True,
        during_training=True,
    ),
    compute=_hnr,
    collect={"clips": collect_clips},
)
COHERENCE = Metric(
    MetricKind(
        "coherence",
        help="sound: correlation of notes with themselves one period later",
        headline="median",
        default_images=1040,
        larger_is_better=True,
        measures_sound=True,
        needs_pitch=True,
        during_training=True,
    ),
    compute=_coherence,
    collect={"clips": collect_clips},
)
CONSISTENCY = Metric(
    MetricKind(
        "consistency",
        help="sound: distance of generated spectrograms from those of their waves, 0 to about 1; needs no labels",
        headline="median",
        default_images=1040,
        measures_sound=True,
        needs_phase=True,
        during_training=True,
    ),
    compute=_consistency,
    collect={"clips": collect_clips},
)
