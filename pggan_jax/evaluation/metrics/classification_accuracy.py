"""GAN-train and GAN-test (Shmelkov et al. 2018): can who learned from fakes read reals, and the other way round?"""

from __future__ import annotations

import numpy as np

from pggan_jax.evaluation.classifier import Classifier, train_classifier
from pggan_jax.evaluation.metric_result import Measured

Labelled = tuple[np.ndarray, np.ndarray]


def gan_train_test(reals: Labelled, fakes: Labelled, classifier: Classifier, seed: int) -> Measured:
    """Accuracies of two classifiers.

    Args:
        reals, fakes: images as `pixels.box_shrunk` gives them, and the classes they are of, or were asked to be.
        classifier: has learned from reals.
        seed: of the part that is held out.

    Returns:
        `gan_train`: learned from fakes, reads reals: low if fakes lack variety. `gan_test`: learned from reals, reads fakes:
        low if fakes are bad, higher than `real` if they are copies. `real`: learned from reals, reads held-out reals.
    """
    values, errors = {}, {}
    for name, reader, (rows, classes) in (
        ("gan_train", train_classifier(*fakes, seed), reals),
        ("gan_test", classifier, fakes),
    ):
        accuracy = float(np.mean(reader.probabilities(rows).argmax(axis=1) == classes))
        values[name], errors[name] = accuracy, float(np.sqrt(accuracy * (1 - accuracy) / len(classes)))
    return Measured({**values, "real": classifier.accuracy}, errors)
