"""The judge: a classifier of pitch, trained on real notes on the spot.

It is trained on notes with white noise at several levels: without that, inaudible noise would confuse it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.evaluation.sounds import features

MOST_CLIPS = 1560
LEAST_ACCURACY = 0.9
_NOISE_DB = (np.inf, 40.0, 30.0, 20.0, 10.0)
_UNITS, _SEED = 64, 0


@dataclass(frozen=True)
class Judge:
    """A trained judge.

    Attributes:
        network: the scikit-learn estimator; None if the clips had one class only.
        classes: numbers of the classes that it knows, sorted.
        accuracy: on held-out reals.
    """

    network: Any
    classes: np.ndarray
    accuracy: float = 0.0

    def places(self, classes: np.ndarray) -> np.ndarray:
        """Return the place of each class among `classes`, int `[count]`; -1 if unknown."""
        places = np.searchsorted(self.classes, classes).clip(max=len(self.classes) - 1)
        return np.where(self.classes[places] == classes, places, -1)

    def probabilities(self, tonals: np.ndarray) -> np.ndarray:
        """Probability of each of `classes`, float64 `[count, classes]`, of rows by `features.tonal`."""
        return np.asarray(self.network.predict_proba(tonals), np.float64)

    def activations(self, tonals: np.ndarray) -> np.ndarray:
        """Activations of the hidden units, float64 `[count, 64]`, for the Frechet distance."""
        return np.maximum(tonals @ self.network.coefs_[0] + self.network.intercepts_[0], 0)

    @property
    def problem(self) -> str:
        """Why its numbers are not to be used, in one line; empty if they are."""
        if self.accuracy >= LEAST_ACCURACY:
            return ""
        return f"the judge is right on {self.accuracy:.1%} of held-out reals only, below {LEAST_ACCURACY:.0%}"


@dataclass(frozen=True)
class Judgement:
    """What the judge says of a set of notes.

    Attributes:
        accuracy: share of notes of the asked pitch.
        accuracy_within_1: share of notes within one class of the asked one.
        entropy: mean entropy of the probabilities, in nats: small for clear pitches.
        score: Inception score, exp of the mean divergence from the mean: large for clear and varied pitches.
        marginal_entropy: entropy of the mean, in nats.
    """

    accuracy: float
    accuracy_within_1: float
    entropy: float
    score: float
    marginal_entropy: float


def train_judge(waves: np.ndarray, pitches: np.ndarray, *, sample_rate: int, held_out: tuple[np.ndarray, np.ndarray]) -> Judge:
    """Train a judge on at most 1,560 notes.

    Args:
        waves: float64 `[count, samples]`.
        pitches: int `[count]`, of at least two kinds.
        sample_rate: samples per second.
        held_out: features of other reals by `features.tonal`, and their pitches.

    Raises:
        UserError: the notes are of one pitch.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    random = np.random.RandomState(_SEED)
    chosen = np.arange(len(waves)) if len(waves) <= MOST_CLIPS else np.sort(random.permutation(len(waves))[:MOST_CLIPS])
    waves, pitches = waves[chosen], np.asarray(pitches)[chosen]
    classes = np.unique(pitches)
    if len(classes) < 2:
        raise UserError(f"the judge needs notes of at least two pitches; all {len(waves):,} have the same one")
    rows = features.tonal(_with_noise(waves, random), sample_rate)
    network = MLPClassifier((_UNITS,), max_iter=60, alpha=1e-3, learning_rate_init=3e-3, random_state=_SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(rows, pitches)
    tonals, asked = held_out
    return Judge(network, classes, float(np.mean(network.predict(tonals) == asked)))


def _with_noise(waves: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Add white noise to each wave, at a level drawn from five."""
    levels = np.array(_NOISE_DB)[random.randint(len(_NOISE_DB), size=len(waves))]
    amplitudes = np.sqrt(np.square(waves).mean(axis=1)) * 10 ** (-levels / 20)
    return waves + amplitudes[:, None] * random.standard_normal(waves.shape)


def judgement(probabilities: np.ndarray, asked: np.ndarray) -> Judgement:
    """Summarise probabilities.

    Args:
        probabilities: float `[count, classes]`.
        asked: the index of the asked class of each note, int `[count]`; -1 for a class that the judge does not know.
    """
    found, mean = probabilities.argmax(axis=1), probabilities.mean(axis=0)
    near = np.where(asked >= 0, np.abs(found - asked) <= 1, False)
    entropy, marginal = float(_entropies(probabilities).mean()), float(_entropies(mean[None])[0])
    # The mean divergence from the mean is the entropy of the mean less the mean entropy.
    return Judgement(float(np.mean(found == asked)), float(np.mean(near)), entropy, float(np.exp(marginal - entropy)), marginal)


def _entropies(probabilities: np.ndarray) -> np.ndarray:
    from scipy.special import entr

    return entr(probabilities).sum(axis=1)
