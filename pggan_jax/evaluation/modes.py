"""Does the generator cover everything? Combinations of stacked digits (spec 5.5), shares of classes of labelled data."""

from __future__ import annotations

import numpy as np

from pggan_jax.evaluation.classifier import Classifier
from pggan_jax.evaluation.measured import Measured

STACKED_MODES = 1000
_SURE = 0.9
_WEAK = 0.98


def read_stacked(planes: np.ndarray, classifier: Classifier) -> tuple[np.ndarray, np.ndarray]:
    """What stacked digits say.

    Args:
        planes: the three colours of each image as `pixels.box_shrunk` gives them, `[count, 3, numbers]`.
        classifier: of single digits.

    Returns:
        The mode, 100 * red + 10 * green + blue, int64 `[count]`; the probability of the least sure of its digits.
    """
    read = [classifier.probabilities(planes[:, colour]) for colour in range(3)]
    digits = [probabilities.argmax(axis=1) for probabilities in read]
    certainty = np.min([probabilities.max(axis=1) for probabilities in read], axis=0)
    return 100 * digits[0] + 10 * digits[1] + digits[2], certainty


def divergence(counts: np.ndarray, expected: np.ndarray | None = None) -> float:
    """KL divergence of a histogram from uniform, or from another one; natural logarithm, infinite where that one is empty."""
    p = counts / counts.sum()
    q = np.full(len(counts), 1 / len(counts)) if expected is None else expected / expected.sum()
    hit = p > 0
    with np.errstate(divide="ignore"):
        return float((p[hit] * (np.log(p[hit]) - np.log(q[hit]))).sum())


def stacked_modes(fakes: tuple[np.ndarray, np.ndarray], classifier: Classifier) -> Measured:
    """`modes`: how many of the 1,000 combinations appear; `kl`: divergence of their histogram from uniform.

    `sure_modes` counts only images of which every digit is read with a probability of 0.9 or more: noise covers modes, too.
    `kl_floor` is what a perfect generator scores with so many images.
    """
    modes, certainty = fakes
    counts = np.bincount(modes, minlength=STACKED_MODES)
    sure = np.bincount(modes[certainty >= _SURE], minlength=STACKED_MODES)
    values = {
        "modes": float(np.count_nonzero(counts)),
        "kl": divergence(counts),
        "sure_modes": float(np.count_nonzero(sure)),
        "certainty": float(certainty.mean()),
        "kl_floor": (STACKED_MODES - 1) / (2 * len(modes)),
        "classifier_accuracy": classifier.accuracy,
    }
    return Measured(values, notes=_notes(classifier))


def class_shares(fakes: np.ndarray, wanted: np.ndarray, reals: np.ndarray, classifier: Classifier) -> Measured:
    """Which classes a classifier reads in fakes.

    Args:
        fakes: their probabilities `[count, classes]`.
        wanted: the classes they were asked to be, int `[count]`; all 0 without labels.
        reals: classes of the reals, int.
        classifier: what read them.

    Returns:
        `kl` from the histogram of the reals, `smallest` and `largest` share over that of the reals, `certainty`, `as_asked`:
        share of fakes that are read as what they were asked to be.
    """
    size = max(fakes.shape[1], int(reals.max()) + 1)
    read = fakes.argmax(axis=1)
    counts, expected = np.bincount(read, minlength=size), np.bincount(reals, minlength=size)
    there = expected > 0
    ratios = (counts[there] / counts.sum()) / (expected[there] / expected.sum())
    as_asked = float(np.mean(read == wanted))
    values = {
        "kl": divergence(counts, expected),
        "smallest": float(ratios.min()),
        "largest": float(ratios.max()),
        "certainty": float(fakes.max(axis=1).mean()),
        "as_asked": as_asked,
        "classifier_accuracy": classifier.accuracy,
    }
    error = np.sqrt(as_asked * (1 - as_asked) / len(read))
    return Measured(values, {"as_asked": float(error)}, _notes(classifier))


def _notes(classifier: Classifier) -> tuple[str, ...]:
    if classifier.accuracy >= _WEAK:
        return ()
    return (f"the classifier reads only {classifier.accuracy:.1%} of held-out reals: its errors count as the generator's",)
