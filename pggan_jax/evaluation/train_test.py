"""GAN-train and GAN-test (Shmelkov et al. 2018): can a classifier that learned from fakes read reals, and the other way round?"""

from __future__ import annotations

import numpy as np

from pggan_jax.evaluation.classifier import Classifier, train_classifier
from pggan_jax.evaluation.measured import Measured


def gan_train_test(
    reals: tuple[np.ndarray, np.ndarray], fakes: tuple[np.ndarray, np.ndarray], classifier: Classifier, seed: int
) -> Measured:
    """Accuracies.

    Args:
        reals, fakes: images and the classes they are of, or were asked to be.
        classifier: has learned from reals.
        seed: of the part that is held out.

    Returns:
        `gan_train`: learned from fakes, read reals: low if fakes lack variety. `gan_test`: learned from reals, read fakes: low if
        fakes are bad, higher than that of held-out reals if they are copies. `real`: learned from reals, read held-out reals.
    """
    learned_from_fakes = train_classifier(*fakes, seed)
    values, errors = {}, {}
    for name, machine, (images, classes) in (
        ("gan_train", learned_from_fakes, reals),
        ("gan_test", classifier, fakes),
    ):
        probabilities = machine.probabilities(images)
        accuracy = float(np.mean(machine.machine.classes_[probabilities.argmax(axis=1)] == classes))
        values[name], errors[name] = accuracy, float(np.sqrt(accuracy * (1 - accuracy) / len(classes)))
    return Measured({**values, "real": classifier.accuracy}, errors)
