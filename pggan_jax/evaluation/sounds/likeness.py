"""Likeness to reals: a judge of pitch, Frechet distance of its features, bins of timbre."""

from __future__ import annotations

import numpy as np

from pggan_jax.evaluation.inception.feature_stats import FeatureStats
from pggan_jax.evaluation.metric import Collected, Metric, MetricContext
from pggan_jax.evaluation.metric_result import MetricResult
from pggan_jax.evaluation.metrics.fid import frechet_distance
from pggan_jax.evaluation.sounds.clips import Clips, collect_clips
from pggan_jax.evaluation.sounds.judge import MOST_CLIPS, Judge, judgement, train_judge
from pggan_jax.metric_kinds import MetricKind

_LEAST_TRAINING = 200
_AT_ONCE = 128


def judge_of(reals: Collected, context: MetricContext) -> Judge:
    """Return the judge of a context, trained once.

    It is trained on reals that are on neither side of a comparison if there are enough, and tested on others.
    """

    def train() -> Judge:
        pool, compared = context.reals, len(reals["clips"].waves)
        between = len(pool) - 2 * compared
        if between >= _LEAST_TRAINING:
            waves, classes = _read(context, compared, min(between, MOST_CLIPS))
            held_out = reals["clips"].tonal, reals["classes"]
        else:
            waves, classes = _read(context, 0, min(len(pool), 4 * MOST_CLIPS // 3))
            tested = max(1, len(waves) // 4)
            tests = Clips(waves[:tested], reals["clips"].sample_rate, np.zeros(tested))
            waves, held_out, classes = waves[tested:], (tests.tonal, classes[:tested]), classes[tested:]
        return train_judge(waves, classes, sample_rate=reals["clips"].sample_rate, held_out=held_out)

    return context.once("judge of notes", train)


def _read(context: MetricContext, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return waves and classes of reals."""
    drawn, representation = context.reals.draw(first, count), context.reals.loader.representation
    assert representation is not None, "checked before"
    return np.concatenate([representation.decode(part) for _, part in drawn.batches(_AT_ONCE, until=count)]), drawn.classes


def _judge(reals: Collected, fakes: Collected, context: MetricContext) -> MetricResult:
    judge = judge_of(reals, context)
    if judge.problem:
        return _withheld("pitch_accuracy", judge)
    asked = judge.places(fakes["classes"])
    found = judgement(judge.probabilities(fakes["clips"].tonal), asked)
    values = {
        "pitch_accuracy": found.accuracy,
        "within_1_class": found.accuracy_within_1,
        "pitch_entropy": found.entropy,
        "inception_score": found.score,
        "judge_accuracy": judge.accuracy,
    }
    return MetricResult(values, {"pitch_accuracy": np.sqrt(found.accuracy * (1 - found.accuracy) / len(asked))})


def _fid(reals: Collected, fakes: Collected, context: MetricContext) -> MetricResult:
    judge = judge_of(reals, context)
    if judge.problem:
        return _withheld("distance", judge)
    first, second = (FeatureStats.of(judge.activations(one["clips"].tonal)) for one in (reals, fakes))
    return MetricResult({"distance": frechet_distance(first, second), "judge_accuracy": judge.accuracy})


def _withheld(headline: str, judge: Judge) -> MetricResult:
    return MetricResult(
        {headline: float("nan"), "judge_accuracy": judge.accuracy}, notes=(f"{judge.problem}: its numbers are withheld",)
    )


def _ndb(reals: Collected, fakes: Collected, context: MetricContext) -> MetricResult:
    del context
    found = reals["clips"].bins.compare(fakes["clips"].timbre)
    return MetricResult({"different": found.different, "bins": found.bins, "divergence": found.divergence})


JUDGE = Metric(
    MetricKind(
        "judge",
        help="sound: share of notes that a classifier trained on reals gives the asked pitch; entropy, Inception score",
        headline="pitch_accuracy",
        default_images=1040,
        larger_is_better=True,
        measures_sound=True,
        needs_pitch=True,
        during_training=True,
    ),
    compute=_judge,
    collect={"clips": collect_clips},
)
FID_SOUND = Metric(
    MetricKind(
        "fid_sound",
        help="sound: Frechet distance of that classifier's features",
        headline="distance",
        default_images=1040,
        measures_sound=True,
        needs_pitch=True,
        during_training=True,
    ),
    compute=_fid,
    collect={"clips": collect_clips},
)
NDB_SOUND = Metric(
    MetricKind(
        "ndb_sound",
        help="sound: number of bins of timbre whose shares differ from those of reals; needs no labels",
        headline="different",
        default_images=1040,
        measures_sound=True,
        during_training=True,
    ),
    compute=_ndb,
    collect={"clips": collect_clips},
)
