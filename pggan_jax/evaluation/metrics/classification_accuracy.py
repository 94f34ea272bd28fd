"""GAN-train and GAN-test: classifiers trained on one set and tested on the other.

Shmelkov et al. 2018, "How good is my GAN?".
"""

from __future__ import annotations

import numpy as np

from pggan_jax.evaluation.classifier import Classifier, classifier_of_reals, train_classifier
from pggan_jax.evaluation.metric import Collected, Metric, MetricContext, collect_pixels
from pggan_jax.evaluation.metric_result import MetricResult
from pggan_jax.metric_kinds import MetricKind

LabelledRows = tuple[np.ndarray, np.ndarray]


def gan_train_test(reals: LabelledRows, fakes: LabelledRows, *, classifier: Classifier, seed: int) -> MetricResult:
    """Compute the accuracies of a classifier trained on fakes and of one trained on reals.

    Args:
        reals, fakes: images as `pixels.pixel_rows` gives them, and their classes (of `fakes`: the requested ones).
        classifier: trained on the reals.
        seed: of the folds.

    Returns:
        `gan_train`: trained on fakes, tested on reals; low if fakes lack variety. `gan_test`: trained on reals, tested on
        fakes; low if fakes are unrealistic, above `real` if they are copies. `real`: trained and tested on reals.
    """
    values, errors = {}, {}
    for name, reader, (rows, classes) in (
        ("gan_train", train_classifier(*fakes, seed=seed), reals),
        ("gan_test", classifier, fakes),
    ):
        accuracy = float(np.mean(reader.probabilities(rows).argmax(axis=1) == classes))
        values[name], errors[name] = accuracy, float(np.sqrt(accuracy * (1 - accuracy) / len(classes)))
    return MetricResult({**values, "real": classifier.accuracy}, errors)


def _compute(reals: Collected, fakes: Collected, context: MetricContext) -> MetricResult:
    labelled = [(one["pixels"], one["classes"]) for one in (reals, fakes)]
    return gan_train_test(*labelled, classifier=classifier_of_reals(reals, context), seed=context.seed)


METRIC = Metric(
    MetricKind(
        "train_test",
        help="GAN-train and GAN-test: accuracy of classifiers trained on generated images and tested on reals, and vice versa",
        headline="gan_train",
        counterpart="judge",
        default_images=10000,
        larger_is_better=True,
        needs_labels=True,
        has_floor=False,
    ),
    compute=_compute,
    collect={"pixels": collect_pixels},
)
