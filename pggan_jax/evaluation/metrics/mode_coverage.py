"""Mode coverage: combinations of stacked digits (spec 5.5), shares of labelled classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pggan_jax.data.open_loader import open_singles
from pggan_jax.data.sources.open_source import open_source
from pggan_jax.errors import UserError
from pggan_jax.evaluation.classifier import Classifier, classifier_of_reals, train_classifier
from pggan_jax.evaluation.metric import Collected, Metric, MetricContext, collect_pixels, collect_rows
from pggan_jax.evaluation.metric_result import MetricResult
from pggan_jax.evaluation.pixels import pixel_rows
from pggan_jax.metric_kinds import MetricKind

DIGITS = 10
STACKED_MODES = DIGITS**3
_SURE = 0.9
_MIN_ACCURACY = 0.985
_RESAMPLES = 200


def plane_rows(images: np.ndarray) -> np.ndarray:
    """Return each colour channel as a row of pixels.

    Args:
        images: uint8 `[count, height, width, 3]`.

    Returns:
        float32 `[count, 3, pixels]`, see `pixels.pixel_rows`.

    Raises:
        UserError: the images do not have three channels.
    """
    if images.shape[-1] != 3:
        raise UserError(f"modes needs images of three digits stacked as colour channels, not of {images.shape[-1]} channels")
    return np.stack([pixel_rows(images[..., channel : channel + 1]) for channel in range(3)], axis=1)


def classify_stacked(planes: np.ndarray, classifier: Classifier) -> tuple[np.ndarray, np.ndarray]:
    """Classify the three digits of each image.

    Args:
        planes: as `plane_rows` gives them.
        classifier: of single digits.

    Returns:
        The mode, 100 * red + 10 * green + blue, int64 `[count]`; and the smallest of the three probabilities, `[count]`.
    """
    by_channel = [classifier.probabilities(planes[:, channel]) for channel in range(3)]
    digits = [probabilities.argmax(axis=1) for probabilities in by_channel]
    certainty = np.min([probabilities.max(axis=1) for probabilities in by_channel], axis=0)
    return 100 * digits[0] + 10 * digits[1] + digits[2], certainty


def kl_divergence(counts: np.ndarray, expected: np.ndarray | None = None) -> float:
    """Compute the KL divergence of a histogram from another one or from uniform, in nats.

    It is infinite where `expected` is 0 and `counts` is not.
    """
    p = counts / counts.sum()
    q = np.full(len(counts), 1 / len(counts)) if expected is None else expected / expected.sum()
    hit = p > 0
    with np.errstate(divide="ignore"):
        return float((p[hit] * (np.log(p[hit]) - np.log(q[hit]))).sum())


def _with_errors(
    describe: Callable[[np.ndarray], Mapping[str, float]], counts: np.ndarray
) -> tuple[Mapping[str, float], dict[str, float]]:
    """Return `describe(counts)`, and standard errors by a bootstrap over the images."""
    draws = np.random.RandomState(0).multinomial(counts.sum(), counts / counts.sum(), _RESAMPLES)
    resampled = [describe(draw) for draw in draws]
    values = describe(counts)
    return values, {name: float(np.std([one[name] for one in resampled])) for name in values}


def stacked_modes(modes: np.ndarray, certainty: np.ndarray, *, classifier: Classifier) -> MetricResult:
    """Describe the histogram of the 1,000 combinations of three digits.

    Args:
        modes, certainty: as `classify_stacked` gives them.
        classifier: of single digits.

    Returns:
        `modes`: combinations that appear; `sure_modes`: those of images with certainty 0.9 or more, as noise covers modes,
        too; `certainty`: mean. `kl`: divergence of the histogram from uniform; `kl_training`: from the combinations in the
        training data, whose digits are drawn independently; `kl_floor`: of a perfect generator with so many images.
    """
    shares = np.resize(np.append(classifier.shares, np.zeros(10)), 10)
    training = np.einsum("r,g,b->rgb", shares, shares, shares).ravel()
    values, errors = _with_errors(
        lambda counts: {
            "modes": float(np.count_nonzero(counts)),
            "kl": kl_divergence(counts),
            "kl_training": kl_divergence(counts, training),
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
    return MetricResult(values, errors | _error_of_mean("certainty", certainty), _notes(classifier))


def _error_of_mean(name: str, numbers: np.ndarray) -> dict[str, float]:
    return {name: float(numbers.std() / np.sqrt(len(numbers)))}


def class_shares(
    probabilities: np.ndarray, requested: np.ndarray, *, reals: np.ndarray, classifier: Classifier
) -> MetricResult:
    """Compare the histogram of the classes of generated images with that of the reals.

    Args:
        probabilities: of the classes of the generated images, `[count, classes]`.
        requested: the classes that the generator was given, int `[count]`; all 0 without labels.
        reals: classes of the reals, int.
        classifier: that gave `probabilities`.

    Returns:
        `kl`: divergence from the histogram of the reals; `smallest`, `largest`: share of a class over its share in the reals;
        `certainty`: mean largest probability; `as_asked`: share of images classified as requested.
    """
    size = max(probabilities.shape[1], int(reals.max()) + 1)
    found = probabilities.argmax(axis=1)
    counts, expected = np.bincount(found, minlength=size), np.bincount(reals, minlength=size)
    present = expected > 0

    def describe(counts: np.ndarray) -> dict[str, float]:
        ratios = (counts[present] / counts.sum()) / (expected[present] / expected.sum())
        return {"kl": kl_divergence(counts, expected), "smallest": float(ratios.min()), "largest": float(ratios.max())}

    values, errors = _with_errors(describe, counts)
    certainty, is_as_requested = probabilities.max(axis=1), found == requested
    values = {
        **values,
        "certainty": float(certainty.mean()),
        "as_asked": float(is_as_requested.mean()),
        "classifier_accuracy": classifier.accuracy,
    }
    errors |= _error_of_mean("certainty", certainty) | _error_of_mean("as_asked", is_as_requested)
    return MetricResult(values, errors, _notes(classifier))


def _notes(classifier: Classifier) -> tuple[str, ...]:
    if classifier.accuracy >= _MIN_ACCURACY:
        return ()
    return (f"the classifier reads only {classifier.accuracy:.1%} of held-out reals: its errors count as the generator's",)


def _check_stacked(context: MetricContext) -> None:
    source = context.data.source
    if not source.startswith("stacked:"):
        raise UserError(f"modes is for stacked digits, such as data.source=stacked:digits, not {source}")
    inner = source.partition(":")[2]
    names = open_source(inner, resolution=context.data.resolution).class_names
    if not 2 <= len(names) <= DIGITS:
        raise UserError(
            f"modes needs single images of 2 to {DIGITS} classes, and {inner} has {len(names) or 'no'} classes; name a source "
            "with one class per digit, or use another metric"
        )


def _digit_classifier(context: MetricContext) -> Classifier:
    """Train a classifier on the single images that the stacked source is made of."""
    loader = open_singles(context.data, seed=context.seed, report=print)
    images = loader.images(context.reals.resolution, np.arange(len(loader)))
    return train_classifier(pixel_rows(images), loader.class_table(), seed=context.seed)


def _compute_modes(_reals: Collected, fakes: Collected, context: MetricContext) -> MetricResult:
    classifier = context.once("digit classifier", lambda: _digit_classifier(context))
    return stacked_modes(*classify_stacked(fakes["planes"], classifier), classifier=classifier)


def _compute_classes(reals: Collected, fakes: Collected, context: MetricContext) -> MetricResult:
    classifier = classifier_of_reals(reals, context)
    probabilities = classifier.probabilities(fakes["pixels"])
    return class_shares(probabilities, fakes["classes"], reals=reals["classes"], classifier=classifier)


MODES = Metric(
    MetricKind(
        "modes",
        help="stacked digits: number of the 1,000 combinations that appear, and KL divergence from uniform",
        headline="modes",
        default_images=25600,
        larger_is_better=True,
        needs_reals=False,
    ),
    compute=_compute_modes,
    collect={"planes": collect_rows(plane_rows)},
    check=_check_stacked,
)
CLASSES = Metric(
    MetricKind(
        "classes",
        help="share of each class in the generated images, by a classifier trained on the reals",
        headline="kl",
        default_images=10000,
        needs_labels=True,
        has_floor=False,
    ),
    compute=_compute_classes,
    collect={"pixels": collect_pixels},
)
