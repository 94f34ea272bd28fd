"""Does the generator cover everything? Combinations of stacked digits (spec 5.5), shares of classes of labelled data."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pggan_jax.evaluation.classifier import Classifier
from pggan_jax.evaluation.metric_result import Measured

DIGITS = 10
STACKED_MODES = DIGITS**3
_SURE = 0.9
_WEAK = 0.985
_RESAMPLED = 200


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


def _with_errors(
    describe: Callable[[np.ndarray], Mapping[str, float]], counts: np.ndarray
) -> tuple[Mapping[str, float], dict[str, float]]:
    """What is said of a histogram, and the standard error of each number by a bootstrap over the images in it."""
    draws = np.random.RandomState(0).multinomial(counts.sum(), counts / counts.sum(), _RESAMPLED)
    resampled = [describe(draw) for draw in draws]
    values = describe(counts)
    return values, {name: float(np.std([one[name] for one in resampled])) for name in values}


def stacked_modes(fakes: tuple[np.ndarray, np.ndarray], classifier: Classifier) -> Measured:
    """`modes`: how many of the 1,000 combinations appear; `kl`: divergence of their histogram from uniform.

    `kl_training` is that from the combinations trained on, whose digits are drawn independently. `sure_modes` counts only
    images of which every digit is read with a probability of 0.9 or more: noise covers modes, too. `kl_floor` is what a perfect
    generator scores with so many images.
    """
    modes, certainty = fakes
    shares = np.resize(np.append(classifier.shares, np.zeros(10)), 10)
    training = np.einsum("r,g,b->rgb", shares, shares, shares).ravel()
    values, errors = _with_errors(
        lambda counts: {
            "modes": float(np.count_nonzero(counts)),
            "kl": divergence(counts),
            "kl_training": divergence(counts, training),
        },
        np.bincount(modes, minlength=STACKED_MODES),
    )
    sure = np.bincount(modes[certainty >= _SURE], minlength=STACKED_MODES)
    values = {
        **values,
        "sure_modes": float(np.count_nonzero(sure)),
        "certainty": float(certainty.mean()),
        "kl_floor": (STACKED_MODES - 1) / (2 * len(modes)),
        "classifier_accuracy": classifier.accuracy,
    }
    return Measured(values, errors | _error_of_mean("certainty", certainty), _notes(classifier))


def _error_of_mean(name: str, numbers: np.ndarray) -> dict[str, float]:
    return {name: float(numbers.std() / np.sqrt(len(numbers)))}


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

    def describe(counts: np.ndarray) -> dict[str, float]:
        ratios = (counts[there] / counts.sum()) / (expected[there] / expected.sum())
        return {"kl": divergence(counts, expected), "smallest": float(ratios.min()), "largest": float(ratios.max())}

    values, errors = _with_errors(describe, counts)
    certainty, is_as_asked = fakes.max(axis=1), read == wanted
    values = {
        **values,
        "certainty": float(certainty.mean()),
        "as_asked": float(is_as_asked.mean()),
        "classifier_accuracy": classifier.accuracy,
    }
    errors |= _error_of_mean("certainty", certainty) | _error_of_mean("as_asked", is_as_asked)
    return Measured(values, errors, _notes(classifier))


def _notes(classifier: Classifier) -> tuple[str, ...]:
    if classifier.accuracy >= _WEAK:
        return ()
    return (f"the classifier reads only {classifier.accuracy:.1%} of held-out reals: its errors count as the generator's",)
